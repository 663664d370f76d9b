# SPDX-License-Identifier: Apache-2.0
"""The smallest backend that is exact: every actuated body glides to where it is told, with inertia.

It works for any task. A step needs two observations (the inertia) and the key (a slight shake), so
that a wrong history or a wrong key shows in the joints. Bodies are drawn as squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hiwm_core.observation import Observation
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]

INERTIA = 0.25
SHAKE = 1e-3
HALF_SIDE = 2  # px


class PointMass:
    """The backend of a task."""

    name = 'point_mass'
    context = 2

    def __init__(self, task: Task) -> None:
        self._task = task
        joint_columns = {
            joint: task.scene_index(variable)
            for actuation in task.actuated
            for body in task.bodies
            if body.name == actuation.body
            for joint, variable in zip(actuation.joints, body.position, strict=True)
        }
        self._columns = np.array([joint_columns[name] for name in task.action_names])

    def reset(self, scene: FloatArray, key: int) -> Observation:
        return self._observation(scene)

    def step(self, history: Sequence[Observation], action: FloatArray, key: int) -> Observation:
        at = history[-1].scene[self._columns]
        before = history[-2].scene[self._columns] if len(history) > 1 else at
        limit = self._task.action_max_step
        moved = at + np.clip(action - at, -limit, limit) + INERTIA * (at - before)
        moved += SHAKE * (key / 2**64 - 0.5)
        scene = history[-1].scene.copy()
        scene[self._columns] = np.clip(moved, self._task.action_low, self._task.action_high)
        return self._observation(scene)

    def _observation(self, scene: FloatArray) -> Observation:
        frame = np.zeros(self._task.frame_shape, np.uint8)
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
        return Observation(
            frame=frame,
            joints=self._task.joints_of_scene(scene),
            scene=scene,
            progress=float(np.abs(scene).sum()),
            success=float('nan'),
            fidelity=1.0,
            state=scene[:2] / 3.0,
        )
