# SPDX-License-Identifier: Apache-2.0
"""Landmarks and the frame of a body: arithmetic against known poses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from hiwm_core.task import Task
from hiwm_policy.frame import BodyFrame, body_frame, turn
from hiwm_policy.landmark import landmarks_of


def frame_of(task: Task) -> BodyFrame:
    frame = body_frame(task)
    assert frame is not None
    return frame


def scenes(task: Task, count: int) -> np.ndarray:
    return np.array([task.start_scene(seed) for seed in range(count)])


def normalized(task: Task, scene: np.ndarray) -> torch.Tensor:
    landmarks = landmarks_of(task)
    assert landmarks is not None
    return torch.from_numpy(landmarks.normalize(landmarks.of_scene(scene)))


def test_landmarks_are_the_points_of_the_bodies_in_the_world(pusht: Task) -> None:
    landmarks = landmarks_of(pusht)
    assert landmarks is not None
    points = landmarks.of_scene(np.array([0.1, 0.2, 0.3, 0.4, np.pi / 2]))
    assert points.shape == (landmarks.count, landmarks.dimensions) == (8, 2), (
        'the pusher is where the joints are'
    )
    # A quarter turn from x to y: (x, y) of the body is (-y, x) in the world.
    np.testing.assert_allclose(points[2], [0.3 - 0.03, 0.4 + 0.06], atol=1e-12)


def test_the_pose_that_made_the_landmarks_is_found(pusht: Task) -> None:
    known = scenes(pusht, 20)
    origin, angle = frame_of(pusht).pose(normalized(pusht, known))
    np.testing.assert_allclose(origin.numpy(), known[:, 2:4], atol=1e-6)
    np.testing.assert_allclose(angle.numpy(), known[:, 4], atol=1e-5)


def test_entering_and_leaving_a_frame_are_inverse(pusht: Task) -> None:
    draw = torch.Generator().manual_seed(0)
    actions = torch.rand(5, 16, 2, generator=draw)
    origin, angle = torch.rand(5, 2, generator=draw), 6.0 * torch.rand(5, generator=draw)
    frame = frame_of(pusht)
    there = frame.enter(actions, origin, angle)
    torch.testing.assert_close(frame.leave(there, origin, angle), actions)


def test_a_turned_world_changes_only_what_the_workspace_looks_like(pusht: Task) -> None:
    """Pusher and body turned together about the body: the same push, so the same numbers."""
    frame = frame_of(pusht)
    hand, origin = torch.tensor([[[0.1, 0.2], [0.12, 0.2]]]), torch.tensor([[[0.25, 0.25]] * 2])
    angle = torch.tensor([[0.3, 0.35]])
    turned_hand = origin + turn(hand - origin, torch.full((1, 2), 0.7))
    first = frame.features(hand, origin, angle)
    second = frame.features(turned_hand, origin, angle + 0.7)
    np.testing.assert_allclose(first[:, :2], second[:, :2], atol=1e-6)
    assert not torch.allclose(first[:, 2:4], second[:, 2:4])


def test_the_columns_follow_the_names_of_the_task(pusht: Task) -> None:
    moved = replace(pusht.actuated[0], joints=('y', 'x'))
    assert frame_of(pusht).columns == (0, 1)
    assert frame_of(replace(pusht, actuated=(moved,))).columns == (1, 0)


def test_joint_angles_have_neither_landmarks_nor_a_frame(two_arms: Task) -> None:
    landmarks = landmarks_of(two_arms)
    assert landmarks is not None
    assert [body.name for body in landmarks.bodies] == ['towel']
    assert body_frame(two_arms) is None
