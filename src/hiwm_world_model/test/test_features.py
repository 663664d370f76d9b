# SPDX-License-Identifier: Apache-2.0
"""Landmarks and inputs: what must change with the scene's pose, and what must not."""

from __future__ import annotations

from dataclasses import replace
import math

import pytest
import torch
from torch import Tensor

from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_world_model.decoder import LayerDecoder
from hiwm_world_model.dynamics import Dynamics
from hiwm_world_model.features import SceneGeometry, read_bodies, subtract, turn, wrap


def moved(scene: Tensor, angle: float, shift: Tensor) -> Tensor:
    """A scene of Push-T turned about the workspace's middle and shifted."""
    middle = torch.tensor([0.256, 0.256])
    cosine, sine = torch.tensor(math.cos(angle)), torch.tensor(math.sin(angle))
    places = [turn(scene[..., i : i + 2] - middle, cosine, sine) + middle + shift for i in (0, 2)]
    return torch.cat([*places, scene[..., 4:] + angle], dim=-1)


def test_landmarks_follow_the_pose(task: Task) -> None:
    geometry = SceneGeometry(task)
    tee = geometry.bodies[1]
    found = geometry.landmarks(tee, torch.tensor([0.0, 0.0, 0.3, 0.2, math.pi / 2]))
    # The corner (0.06, 0.03) of the bar, turned by a quarter from x to y.
    assert found[2].tolist() == pytest.approx([0.27, 0.26], abs=1e-6)


def test_inputs_do_not_depend_on_where_the_scene_lies(task: Task) -> None:
    geometry = SceneGeometry(task)
    tee = geometry.bodies[1]
    scene = torch.tensor([[0.23, 0.20, 0.25, 0.24, 0.4]])
    velocity = torch.tensor([[0.1, -0.05, 0.02, 0.01, 0.3]])
    angle = 1.1
    cosine, sine = torch.tensor(math.cos(angle)), torch.tensor(math.sin(angle))
    turned = torch.cat(
        [turn(velocity[:, i : i + 2], cosine, sine) for i in (0, 2)] + [velocity[:, 4:]], dim=-1
    )
    there = moved(scene, angle, torch.tensor([0.01, -0.015]))
    found, expected = geometry.inputs(tee, there, turned), geometry.inputs(tee, scene, velocity)
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_wall_is_felt_when_it_is_near(task: Task) -> None:
    geometry = SceneGeometry(task)
    tee = geometry.bodies[1]
    rest = torch.zeros(1, 5)
    free = torch.tensor([[0.1, 0.1, 0.25, 0.2, 0.0]])
    at_wall = torch.tensor([[0.1, 0.1, 0.25, 0.005, 0.0]])
    beside = at_wall + torch.tensor([[0.0, 0.195, 0.0, 0.195, 0.0]])
    shifted = free + torch.tensor([[0.02, 0.02, 0.02, 0.02, 0.0]])
    felt, unfelt, here, there = (
        geometry.inputs(tee, scene, rest)[0] for scene in (at_wall, beside, free, shifted)
    )
    assert not torch.allclose(felt, unfelt)
    torch.testing.assert_close(here, there)


def test_motion_turns_with_the_scene(task: Task) -> None:
    torch.manual_seed(0)
    dynamics = Dynamics(task, 2, 16, 1, 4)
    scene = torch.tensor([0.24, 0.21, 0.25, 0.24, 0.4]).expand(2, 1, 5)
    command = torch.tensor([[0.27, 0.23]])
    angle, shift = 0.8, torch.tensor([0.01, -0.01])
    with torch.no_grad():
        here, _ = dynamics(scene, torch.zeros(2, 1, 5), command)
        places = torch.cat([command, torch.zeros(1, 3)], dim=-1)
        there, _ = dynamics(
            moved(scene, angle, shift), torch.zeros(2, 1, 5), moved(places, angle, shift)[:, :2]
        )
    assert (here[..., 2:] - scene[..., 2:]).abs().max() > 1e-5, 'nothing moved, nothing is tested'
    torch.testing.assert_close(there, moved(here, angle, shift), atol=1e-5, rtol=1e-4)


def test_angles_take_the_short_way(task: Task) -> None:
    after, before = (
        torch.tensor([0.0, 0.0, 0.0, 0.0, -3.1]),
        torch.tensor([0.0, 0.0, 0.0, 0.0, 3.1]),
    )
    assert float(subtract(task, after, before)[4]) == pytest.approx(2 * math.pi - 6.2, abs=1e-5)
    assert float(wrap(task, torch.tensor([9.0, 0, 0, 0, 4.0]))[0]) == 9.0


def test_a_servos_speed_is_found_from_two_places(task: Task) -> None:
    dynamics = Dynamics(task, 1, 8, 1, 5)
    scene = torch.tensor([[[0.1, 0.2, 0.4, 0.4, 0.0]]])
    velocity = torch.tensor([[[0.2, -0.1, 0.0, 0.0, 0.0]]])
    command = torch.tensor([[0.15, 0.1]])
    with torch.no_grad():
        after, speed = dynamics(scene, velocity, command)
        found = dynamics.estimate_velocity(scene, after, command)
    torch.testing.assert_close(found[..., :2], speed[..., :2], atol=1e-5, rtol=1e-4)


def test_a_body_that_cannot_be_imagined_is_refused(arms: Task) -> None:
    mimic = tuple(action for action in arms.actions if action.name != 'right_6')
    with pytest.raises(ConfigurationError, match="the joint 'right_6', which is not an action"):
        read_bodies(replace(arms, actions=mimic))
    bald = tuple(replace(body, points=body.points[:1]) for body in arms.bodies)
    with pytest.raises(ConfigurationError, match="'block' has an angle"):
        read_bodies(replace(arms, bodies=bald))


def test_places_are_counted_from_the_corner_of_the_picture(task: Task) -> None:
    """As the console counts them, wherever the ranges of the scene begin."""
    scene = torch.tensor([[0.1, 0.1, 0.256, 0.3, 0.4]])
    shifted = tuple(
        replace(variable, low=variable.low + 0.05) if variable.name == 'tee_x' else variable
        for variable in task.scene
    )
    pictures = []
    for one in (task, replace(task, scene=shifted)):
        torch.manual_seed(0)
        decoder = LayerDecoder(one)
        with torch.no_grad():
            for texture in decoder.textures.values():
                texture.copy_(
                    torch.randn(texture.shape, generator=torch.Generator().manual_seed(1))
                )
            pictures.append(decoder(scene))
    torch.testing.assert_close(pictures[0], pictures[1])
