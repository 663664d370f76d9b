# SPDX-License-Identifier: Apache-2.0
"""What may be drawn over the picture: where the arm is and is sent, and where bodies are to lie.

A task's `metres_per_pixel` makes its picture a map of the workspace plane; places are told in
shares of the picture, 0 to 1 from its top left corner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from hiwm_core.task import FloatArray, Task
from hiwm_core.task_parts import Actuation


def is_place(task: Task, actuation: Actuation) -> bool:
    """Whether the first two joints are a place in the picture: joint angles are none."""
    units = [joint.unit for joint in task.joints if joint.name in actuation.joints[:2]]
    return units == ['m', 'm']


def _share(task: Task, across: float, down: float) -> list[float]:
    camera = task.camera
    return [
        round(across / camera.metres_per_pixel / camera.width, 4),
        round(down / camera.metres_per_pixel / camera.height, 4),
    ]


def marks_of(
    task: Task, joints: FloatArray | None, command: FloatArray | None
) -> list[dict[str, Any]]:
    """Measured and commanded places of every body that is moved over the picture's plane."""
    if joints is None or task.camera.metres_per_pixel <= 0:
        return []
    measured = dict(zip(task.joint_names, joints, strict=True))
    commanded = {}
    if command is not None:
        commanded = dict(zip(task.action_names, command, strict=True))

    def place(values: Mapping[str, float], names: Sequence[str]) -> list[float] | None:
        if not set(names[:2]) <= values.keys():
            return None
        return _share(task, *(float(values[name]) for name in names[:2]))

    return [
        {
            'body': actuation.body,
            'measured': place(measured, actuation.joints),
            'commanded': place(commanded, actuation.joints),
        }
        for actuation in task.actuated
        if is_place(task, actuation)
    ]


def targets_of(task: Task) -> list[list[list[float]]]:
    """Outlines of the bodies at the target that the task gives, if it gives one.

    A body counts if it has at least three points in the plane and the target names its whole pose.
    """
    return [body['outline'] for body in bodies_of(task, task.target) if body['outline']]


def bodies_of(task: Task, scene: Mapping[str, float]) -> list[dict[str, Any]]:
    """Where bodies lie: the name, the place, and the outline or None, of each.

    A body counts if it lies in the plane and the scene names its whole pose; it has an outline if
    it has at least three points.
    """
    if task.camera.metres_per_pixel <= 0:
        return []
    found = []
    for body in task.bodies:
        names = [*body.position, *([body.angle] if body.angle else [])]
        if len(body.position) != 2 or not set(names) <= scene.keys():
            continue
        across, down = (scene[name] for name in body.position)
        angle = scene[body.angle] if body.angle else 0.0
        cos, sin = math.cos(angle), math.sin(angle)
        outline = [
            _share(task, across + cos * x - sin * y, down + sin * x + cos * y)
            for x, y in body.points
        ]
        found.append(
            {
                'name': body.name,
                'place': _share(task, across, down),
                'outline': outline if len(outline) >= 3 else None,
            }
        )
    return found
