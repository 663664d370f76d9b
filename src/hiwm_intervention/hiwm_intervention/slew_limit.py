# SPDX-License-Identifier: Apache-2.0
"""The slew limit: no action is further than the task's `max_step` from the one before it.

Where the source has changed, or nothing was executed yet, the measured position takes the place of
the action before. `joining` is true from a change of source until its choice is within reach for
the first time: what is sent in between is a ramp and nobody's choice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiwm_core.task import Task

SLACK = 1e-9  # of max_step: what rounding may add to a step that just fits


class SlewLimit:
    """The limit of one arm."""

    def __init__(self, task: Task) -> None:
        self.joining = False
        self._step = task.action_max_step
        self._low, self._high = task.action_low, task.action_high
        self._reference: NDArray[np.float64] | None = None
        self._reference_step = 0

    def begin(self, *, joining: bool = False) -> None:
        """Begin at the measured position."""
        self.joining = joining
        self._reference = None

    def limit(
        self, values: NDArray[np.float64], measured: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The values (A,) that may be sent instead; `measured` (A,) is the hold at this moment."""
        reference = measured if self._reference is None else self._reference
        if (np.abs(values - reference) <= self._step * (1.0 + SLACK)).all():
            self.joining = False
            return values
        near = np.clip(values, reference - self._step, reference + self._step)
        return np.clip(near, self._low, self._high)

    def sent(self, values: NDArray[np.float64], step: int) -> None:
        """These values answer a step."""
        self._reference, self._reference_step = values, step

    def executed(self, values: NDArray[np.float64], step: int) -> None:
        """The rig executed these in answer to a step, unless something newer was sent since."""
        if self._reference is not None and step >= self._reference_step:
            self._reference, self._reference_step = values, step
