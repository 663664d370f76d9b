# SPDX-License-Identifier: Apache-2.0
"""Landmarks: points fixed to the bodies of a task, as the targets of a network that reads a scene.

A task names bodies, which scene variables are their pose, and points on them. All landmarks of a
task together are an array (P, D), in the order of the task file; D is 2 in a plane, 3 in space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiwm_core.task import Body, Task

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where a task's landmarks are and how they are scaled.

    Attributes:
        bodies: The bodies that have landmarks.
        slices: For each of them, its rows among the P landmarks.
        centre: float64 (P, D), metres: the middle of the range of the body's position.
        extent: float64 (P, D), metres: half of that range.
    """

    task: Task
    bodies: tuple[Body, ...]
    slices: tuple[slice, ...]
    centre: FloatArray
    extent: FloatArray

    @property
    def count(self) -> int:
        return int(self.centre.shape[0])

    @property
    def dimensions(self) -> int:
        return int(self.centre.shape[1])

    def of_scene(self, scene: FloatArray) -> FloatArray:
        """The landmarks (..., P, D), metres, of scenes (..., S)."""
        parts = []
        for body in self.bodies:
            origin = np.stack(
                [scene[..., self.task.scene_index(name)] for name in body.position], axis=-1
            )
            points = np.asarray(body.points)
            if body.angle is not None:
                angle = scene[..., self.task.scene_index(body.angle)]
                cosine, sine = np.cos(angle), np.sin(angle)
                turned = [
                    cosine[..., None] * points[:, 0] - sine[..., None] * points[:, 1],
                    sine[..., None] * points[:, 0] + cosine[..., None] * points[:, 1],
                ]
                # In space the angle turns about the third axis, which keeps its coordinate.
                kept = [np.broadcast_to(height, turned[0].shape) for height in points.T[2:]]
                parts.append(np.stack([*turned, *kept], axis=-1) + origin[..., None, :])
            else:
                parts.append(points + origin[..., None, :])
        return np.concatenate(parts, axis=-2)

    def normalize(self, landmarks: FloatArray) -> FloatArray:
        """Metres (..., P, D) to about -1 to 1."""
        return (landmarks - self.centre) / self.extent


def landmarks_of(task: Task) -> Landmarks | None:
    """The task's landmarks; None if there are none, or some lie in a plane and some in space.

    A body that joints move is left out: where it is need not be read from a picture.
    """
    moved = {actuation.body for actuation in task.actuated}
    bodies = tuple(
        body
        for body in task.bodies
        if body.points and body.name not in moved and len(body.position) in {2, 3}
    )
    if len({len(body.position) for body in bodies}) != 1:
        return None
    ranges = {variable.name: (variable.low, variable.high) for variable in task.scene}
    slices, centre, extent, start = [], [], [], 0
    for body in bodies:
        count = len(body.points)
        slices.append(slice(start, start + count))
        start += count
        low, high = np.array([ranges[name] for name in body.position]).T
        centre += [(low + high) / 2] * count
        extent += [(high - low) / 2] * count
    return Landmarks(task, bodies, tuple(slices), np.array(centre), np.array(extent))
