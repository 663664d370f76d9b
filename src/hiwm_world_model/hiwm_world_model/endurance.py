# SPDX-License-Identifier: Apache-2.0
"""Is the picture still whole after a long time of play?

Somebody plays in the backend itself, in closed loop: what is driven at is what the backend shows.
Afterwards each body must be in the last frame exactly once, and the area in which the reader sees
each body that is not commanded must be that which the physics' own picture has for the same scene,
to within AREA.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.action import clip_values
from hiwm_core.backend import Backend
from hiwm_core.error import ConfigurationError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_robot.play import PlayDriver
from hiwm_robot.sims import PoseReader
from hiwm_world_model.features import read_bodies
from hiwm_world_model.held_out import held_out_seed, within_limits
from hiwm_world_model.rollout import key_of

# How far the area may be from what the physics draws, as a share of that.
AREA = 0.15


@dataclass(frozen=True, eq=False)
class Endurance:
    """What N rollouts end with.

    Attributes:
        whole: bool (N,), whether the last frame is as it should be.
        area_error: float64 (N,), the worst body's area against the physics', as a share; NaN where
            a body is missing.
        frames: uint8 (N, H, W, 3), the last frames.
    """

    whole: NDArray[np.bool_]
    area_error: NDArray[np.float64]
    frames: NDArray[np.uint8]


def measure_endurance(
    task: Task,
    backend: Backend,
    physics: Backend,
    reader: PoseReader,
    *,
    seed: int,
    rollouts: int,
    steps: int,
) -> Endurance:
    """Play so many times for so many steps, all in lockstep.

    Raises:
        HiwmError: The backend could not predict, or knows no scene to play in.
    """
    seeds = [held_out_seed(seed, 'endurance', number) for number in range(rollouts)]
    drivers = [PlayDriver(task, own) for own in seeds]
    states = np.concatenate(
        [backend.start(task.start_scene(own), key_of(own, 0, steps)) for own in seeds]
    )
    nothing = np.empty((0, 0, 3), np.uint8)
    for step in tqdm(range(steps), desc='endurance', unit='step'):
        readings = backend.heads(states)
        if readings.scene.shape[1] != len(task.scene):
            raise ConfigurationError(
                f"the backend '{backend.name}' does not know its scene, so nobody can play in it"
            )
        actions = np.stack(
            [
                clip_values(
                    task,
                    driver.action(
                        [Observation(nothing, readings.joints[row], readings.scene[row])]
                    ),
                )
                for row, driver in enumerate(drivers)
            ]
        )
        states = backend.step(states, actions, [key_of(own, 0, step) for own in seeds])
    frames = backend.decode(states)
    errors = np.array([area_error(task, physics, reader, frame) for frame in frames])
    # NaN is a body that is missing, or there more than once.
    return Endurance(errors < AREA, errors, frames)


def area_error(task: Task, physics: Backend, reader: PoseReader, frame: NDArray[np.uint8]) -> float:
    """How far the area of the bodies in a frame is from the physics'; the worst, as a share.

    NaN if a body is not in the frame exactly once.
    """
    seen = reader.read(frame)
    if any(count != 1 for count in seen.components.values()) or np.isnan(seen.scene).any():
        return float('nan')
    drawn = physics.decode(physics.start(within_limits(task, seen.scene), 0))[0]
    areas = reader.read(drawn).area
    return max(
        (
            abs(seen.area[body.name] - areas[body.name]) / max(areas[body.name], 1)
            for body in read_bodies(task)
            if body.planar and not body.command
        ),
        default=0.0,
    )
