# SPDX-License-Identifier: Apache-2.0
"""A drag on the picture as commanded values: press to clutch, move to drive.

A task's `metres_per_pixel` makes its picture a map of the workspace plane: u to the right is the
first coordinate of an actuated body, v downwards the second. A press clutches the body whose place
is nearest; from then on its commanded position is where the arm was plus how far the pointer has
moved. Pressing never moves anything, wherever in the picture it is done, and every press begins
anew at the measured joints.
"""

from __future__ import annotations

import numpy as np

from hiwm_core.task import FloatArray, Task
from hiwm_core.task_parts import Actuation
from hiwm_intervention.console_marks import is_place

Points = tuple[float, float, float, float]  # from (u0, v0) to (u1, v1), in shares of the picture
STILL = 0.02  # of the largest step: nearer than this the arm has arrived


class Drag:
    """The clutch of one pointer.

    Args:
        task: The camera's scale, the actuated bodies, the limits.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        camera = task.camera
        self._size = camera.metres_per_pixel * np.array([camera.width, camera.height])
        self._pairs = [
            actuation
            for actuation in task.actuated
            if is_place(task, actuation) and set(actuation.joints[:2]) <= set(task.action_names)
        ]
        self._pressed: tuple[float, float] | None = None
        self._origin: FloatArray | None = None
        self._columns: list[int] = []

    @property
    def possible(self) -> bool:
        """Whether the task's picture is a map in which something can be dragged."""
        return bool(self._pairs) and self._task.camera.metres_per_pixel > 0

    def forget(self) -> None:
        """Let go; the next drag clutches anew."""
        self._pressed = self._origin = None

    def command(
        self, points: Points, joints: FloatArray, executed: FloatArray | None = None
    ) -> FloatArray:
        """The values (A,) to command; no further from the measured joints than a step may go.

        Args:
            points: From where to where the pointer moved; another beginning is another press.
            joints: float64 (J,), measured now.
            executed: float64 (A,), what the rig did last; None: not known.
        """
        measured = self._task.hold_action(joints, executed)
        start = points[0], points[1]
        if self._origin is None or start != self._pressed:
            self._clutch(start, measured)
        assert self._origin is not None
        values = self._origin.copy()
        moved = np.array([points[2] - points[0], points[3] - points[1]]) * self._size
        values[self._columns] += moved
        reach = self._task.action_max_step
        values = np.clip(values, measured - reach, measured + reach)
        return np.clip(values, self._task.action_low, self._task.action_high)

    def is_still(
        self, values: FloatArray, joints: FloatArray, executed: FloatArray | None = None
    ) -> bool:
        """Whether commanding these values moves nothing: the arm is there already."""
        gap = np.abs(values - self._task.hold_action(joints, executed))
        return bool((gap <= STILL * self._task.action_max_step).all())

    def _clutch(self, start: tuple[float, float], measured: FloatArray) -> None:
        names = list(self._task.action_names)
        press = np.array(start) * self._size

        def distance(actuation: Actuation) -> float:
            place = [measured[names.index(joint)] for joint in actuation.joints[:2]]
            return float(np.hypot(*(np.array(place) - press)))

        nearest = min(self._pairs, key=distance)
        self._columns = [names.index(joint) for joint in nearest.joints[:2]]
        self._pressed, self._origin = start, measured
