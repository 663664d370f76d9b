# SPDX-License-Identifier: Apache-2.0
"""The smallest backend that is exact: every actuated body glides to where it is told, with inertia.

It works for any task. A step needs two scenes (the inertia) and the key (a slight shake), so that a
wrong state or a wrong key shows in the joints. Bodies are drawn as squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiwm_core.backend import Readings
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]

INERTIA = 0.25
SHAKE = 1e-3
HALF_SIDE = 2  # px


class PointMass:
    """The backend of a task; a state is the scene before and the scene now."""

    name = 'point_mass'

    def __init__(self, task: Task) -> None:
        self._task = task
        self.state_size = 2 * len(task.scene)
        joint_columns = {
            joint: task.scene_index(variable)
            for actuation in task.actuated
            for body in task.bodies
            if body.name == actuation.body
            for joint, variable in zip(actuation.joints, body.position, strict=True)
        }
        self._columns = np.array([joint_columns[name] for name in task.action_names])

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        return np.concatenate([scene, scene])[None]

    def encode(self, frames: NDArray[np.uint8]) -> FloatArray:
        raise HiwmError('a point mass does not read frames', ErrorCode.NOT_SUPPORTED)

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        before, now = np.split(states, 2, axis=1)
        at = now[:, self._columns]
        limit = self._task.action_max_step
        moved = at + np.clip(actions - at, -limit, limit)
        moved += INERTIA * (at - before[:, self._columns])
        moved += SHAKE * (np.array(keys, dtype=np.float64)[:, None] / 2**64 - 0.5)
        after = now.copy()
        after[:, self._columns] = np.clip(moved, self._task.action_low, self._task.action_high)
        return np.concatenate([now, after], axis=1)

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        frames = np.zeros((len(states), *self._task.frame_shape), np.uint8)
        for frame, scene in zip(frames, np.split(states, 2, axis=1)[1], strict=True):
            self._draw(frame, scene)
        return frames

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        scene = np.split(states, 2, axis=1)[1]
        count = len(states)
        return Readings(
            joints=np.stack([self._task.joints_of_scene(row) for row in scene]),
            scene=scene,
            progress=np.abs(scene).sum(axis=1),
            success=np.full(count, np.nan),
            fidelity=np.ones(count),
        )

    def _draw(self, frame: NDArray[np.uint8], scene: FloatArray) -> None:
        height, width, _ = frame.shape
        for number, body in enumerate(self._task.bodies):
            place = []
            for name in body.position[:2]:
                variable = self._task.scene[self._task.scene_index(name)]
                value = scene[self._task.scene_index(name)]
                place.append((value - variable.low) / (variable.high - variable.low))
            column, row = round(place[0] * (width - 1)), round(place[1] * (height - 1))
            rows = slice(max(0, row - HALF_SIDE), row + HALF_SIDE + 1)
            columns = slice(max(0, column - HALF_SIDE), column + HALF_SIDE + 1)
            frame[rows, columns, number % 3] = 255 - 10 * number
