# SPDX-License-Identifier: Apache-2.0
"""Whether time stands still while the operator thinks, and asking the rig to do so.

The wish follows the phase; what the rig shows is compared with it. A question is under way until
the rig shows what was asked for, refuses, or lets it pass. What it has refused is not asked again
until the wish has changed.
"""

from __future__ import annotations

from collections.abc import Callable
import math

from hiwm_intervention.rig_mode import COMMAND_TIMEOUT, RigView
from hiwm_rig.pacing import Advance


class RigPace:
    """The wish for one rig.

    Args:
        clock: Seconds on a steady clock.
        on_input: Whether time is to stand still without input while an operator drives.
    """

    def __init__(self, clock: Callable[[], float], *, on_input: bool) -> None:
        self._clock = clock
        self._on_input = on_input
        self._rig: RigView | None = None
        self._wanted = Advance.ALWAYS
        self._asked: Advance | None = None
        self._asked_at = -math.inf
        self._refused: Advance | None = None

    @property
    def stands_still(self) -> bool:
        """Whether a step that nobody answers does not pass, as was wished."""
        shown = self._rig.advance if self._rig else None
        return self._wanted is Advance.ON_INPUT and shown is Advance.ON_INPUT

    def show(self, rig: RigView) -> None:
        """The rig has shown how time advances on it."""
        self._rig = rig

    def wish(self, *, correcting: bool) -> None:
        """The phase is, or is not, the one in which the operator drives."""
        wanted = Advance.ON_INPUT if correcting else Advance.ALWAYS
        if wanted is not self._wanted:
            self._wanted = wanted
            self._refused = None

    def next_question(self) -> Advance | None:
        """What to ask the rig for now, if anything."""
        rig, now = self._rig, self._clock()
        if rig is None or not self._on_input or not rig.can_set_pace:
            return None
        if self._asked is not None and (
            rig.advance is self._asked or now - self._asked_at > COMMAND_TIMEOUT
        ):
            self._asked = None
        if self._asked is not None or self._wanted in {rig.advance, self._refused}:
            return None
        self._asked, self._asked_at = self._wanted, now
        return self._asked

    def refuse(self, asked: Advance) -> None:
        """The rig will not do it: it is driven as one that cannot."""
        if self._asked is asked:
            self._asked = None
        self._refused = asked
