# SPDX-License-Identifier: Apache-2.0
"""How time runs on a rig: its pace, its speed, and whether it waits for whoever commands."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
import math

from hiwm_core.error import HiwmError
from hiwm_core.rig import Pace

SLOWEST, FASTEST = 0.25, 4.0


class Advance(IntEnum):
    """The constants ADVANCE_* of `hiwm_msgs/msg/RigState`."""

    ALWAYS = 1
    ON_INPUT = 2


@dataclass
class Pacing:
    """When the next step may be made.

    Attributes:
        pace: In realtime a step every period; in lockstep one for every action.
        advance: ALWAYS: a period without an action holds; ON_INPUT: it makes no step.
        speed: Of time, 1: the task's rate. Lockstep knows no rate.
    """

    pace: Pace
    advance: Advance = Advance.ALWAYS
    speed: float = 1.0

    def set(self, advance: int, speed: float) -> None:
        """Change what is not 0. Raises HiwmError, and nothing has changed then."""
        if advance not in {0, *Advance}:
            raise HiwmError(f'there is no way to advance numbered {advance}; use 1, 2, or 0')
        if speed and not (math.isfinite(speed) and SLOWEST <= speed <= FASTEST):
            raise HiwmError(f'a speed is {SLOWEST:g} to {FASTEST:g}, or 0, not {speed:g}')
        self.advance = Advance(advance or self.advance)
        self.speed = speed or self.speed

    def is_due(self, period_begun: bool, answered: bool) -> bool:
        """Whether a running rig makes its next step now.

        Args:
            period_begun: In realtime: a period has begun whose step has not.
            answered: An action for the very step at which the rig stands has come.
        """
        if self.pace is Pace.LOCKSTEP:
            return answered
        return period_begun and (answered or self.advance is Advance.ALWAYS)

    def misses(self, answered: bool) -> bool:
        """Whether a period that begins before the last one's step was made is a missed deadline."""
        return answered or self.advance is Advance.ALWAYS
