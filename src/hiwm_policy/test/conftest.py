# SPDX-License-Identifier: Apache-2.0
"""What the tests of the policy share: two tasks, small networks, and made-up demonstrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import sys

import numpy as np
import pytest
import torch

from hiwm_core.action import Source
from hiwm_core.task import Task, load_task, parse_task
from hiwm_policy.dataset import Frames
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.size import DiffusionSize, FlowSize, Size

sys.path.insert(0, str(Path(__file__).parents[2] / 'hiwm_core' / 'test'))
sys.path.insert(0, str(Path(__file__).parent))

from two_arms import TWO_ARMS

torch.set_num_threads(1)
SMALL: dict[str, Size] = {
    'diffusion': DiffusionSize(free_keypoints=4, width=32, depth=1, condition=16),
    'flow': FlowSize(free_keypoints=4, width=32, seen_width=16, depth=1, heads=2, head_width=8),
}


@pytest.fixture
def pusht() -> Task:
    """A task whose actions are a position beside a body with an angle."""
    return load_task('pusht')


@pytest.fixture
def two_arms() -> Task:
    """A task of 14 joint angles, at 32x24 pixels."""
    return parse_task(TWO_ARMS, 'two_arms')


@pytest.fixture
def small_network() -> Callable[..., PolicyNetwork]:
    """A small network with random weights for a task."""

    def build(
        task: Task, *, framed: bool = False, seed: int = 0, backbone: str = 'diffusion'
    ) -> PolicyNetwork:
        torch.manual_seed(seed)
        return PolicyNetwork(task, replace(SMALL[backbone], framed=framed)).eval()

    return build


@pytest.fixture
def demonstrations() -> Callable[..., Frames]:
    """Random walks with random pictures; the scene is known unless told otherwise."""

    def make(
        task: Task, *, episodes: int = 3, steps: int = 12, scene: bool = True, seed: int = 0
    ) -> Frames:
        draw = np.random.default_rng(seed)
        rows, count = steps + 1, episodes * (steps + 1)
        scenes = np.array([task.start_scene(number) for number in range(count)])
        spread = task.action_high - task.action_low
        actions = task.action_low + spread * draw.random((count, len(task.actions)))
        actions[rows - 1 :: rows] = np.nan
        joints = np.array([task.joints_of_scene(scene) for scene in scenes])
        return Frames(
            frames=draw.integers(0, 256, (count, *task.frame_shape), np.uint8),
            joints=joints.astype(np.float32),
            scene=scenes if scene else np.empty((count, 0)),
            actions=actions.astype(np.float32),
            sources=np.full(count, Source.OPERATOR, np.uint8),
            starts=np.arange(episodes + 1) * rows,
            seeds=np.arange(episodes),
        )

    return make
