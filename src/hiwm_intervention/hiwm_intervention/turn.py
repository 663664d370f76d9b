# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: a step's answer is awaited from us, then the next step from the rig."""

from __future__ import annotations

import math

from hiwm_core.rig import Mode
from hiwm_intervention.rig_mode import RigView


class Turn:
    """The step at hand. All times are seconds on one steady clock."""

    def __init__(self) -> None:
        self.answered: tuple[int, int] | None = None
        self._began_at = -math.inf  # since when the source in charge may answer
        self._owed_since = -math.inf  # since when the rig owes a new step
        self._sent_at = -math.inf

    def show(self, before: RigView | None, rig: RigView, now: float) -> bool:
        """The rig has shown a frame; returns whether it is a new step."""
        stepped = before is None or (rig.epoch, rig.step) != (before.epoch, before.step)
        runs_again = rig.mode is Mode.RUNNING and before and before.mode is not Mode.RUNNING
        if stepped or runs_again:
            self._began_at = self._owed_since = now
        if runs_again and not stepped:
            # What was sent while the rig came to a stand may not have been taken: answer again.
            self.answered = None
        return stepped

    def begin(self, now: float) -> None:
        """Somebody else may answer from now on."""
        self._began_at = now

    def waited(self, now: float) -> float:
        """Seconds that the step has been waiting for its answer."""
        return now - self._began_at

    def send(self, rig: RigView, now: float) -> None:
        """An action is sent; an answer to another step makes the rig owe the next."""
        if self.answered != (rig.epoch, rig.step):
            self.answered = (rig.epoch, rig.step)
            self._owed_since = now
        self._sent_at = now

    def is_overdue(self, rig: RigView, now: float, timeout: float) -> bool:
        """Whether the rig shows nothing new, and nothing was sent for a period."""
        return now - self._owed_since > timeout and now - self._sent_at >= rig.period
