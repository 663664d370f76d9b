# SPDX-License-Identifier: Apache-2.0
"""The slew limit: no action is further than the task's `max_step` from the one before it.

That holds for every action within an epoch, whoever chose it, a hold included: an arm that lags
behind its command is brought to a stand within the limit. The action before is the one that answers
an earlier step: a step that is answered again is limited as it was the first time, for the first
answer may never be executed. Where there is none, or the arm was moved while the rig stood, the
measured position takes its place.

`joining` is true from a change of source until the new one's choice is within reach for the first
time: what is sent in between is a ramp and nobody's choice.
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
        self._before: NDArray[np.float64] | None = None  # the action of an earlier step
        self._newest: NDArray[np.float64] | None = None
        self._newest_step = -1
        self._stood_at: NDArray[np.float64] | None = None

    def begin(self) -> None:
        """The scene is another one: begin at the measured position."""
        self.joining = False
        self._before = self._newest = self._stood_at = None
        self._newest_step = -1

    def join(self) -> None:
        """The source changes."""
        self.joining = True

    def stand(self, measured: NDArray[np.float64]) -> None:
        """The rig has come to a stand; `measured` (A,) is the hold there."""
        self._stood_at = measured

    def run(self, measured: NDArray[np.float64]) -> None:
        """The rig runs again; if it was moved meanwhile, the action before means nothing."""
        moved = self._stood_at is not None and (np.abs(measured - self._stood_at) > self._step)
        if np.any(moved):
            self._before = self._newest = None
        self._stood_at = None

    def limit(
        self, values: NDArray[np.float64], measured: NDArray[np.float64], step: int
    ) -> NDArray[np.float64]:
        """What may answer a step of the choice (A,) in charge; `measured` (A,) is the hold now."""
        near = self.near(values, measured, step)
        if near is values:
            self.joining = False
        return near

    def near(
        self, values: NDArray[np.float64], measured: NDArray[np.float64], step: int
    ) -> NDArray[np.float64]:
        """The values (A,) themselves if they are within reach, else as near as a step goes."""
        reference = self._before if step == self._newest_step else self._newest
        if reference is None:
            reference = measured
        if (np.abs(values - reference) <= self._step * (1.0 + SLACK)).all():
            return values
        near = np.clip(values, reference - self._step, reference + self._step)
        return np.clip(near, self._low, self._high)

    def sent(self, values: NDArray[np.float64], step: int) -> None:
        """These values answer a step."""
        if step != self._newest_step:
            self._before, self._newest_step = self._newest, step
        self._newest = values

    def executed(self, values: NDArray[np.float64], step: int) -> None:
        """The rig executed these in answer to a step, unless something newer was sent since."""
        if self._newest is not None and step >= self._newest_step:
            self.sent(values, step)
