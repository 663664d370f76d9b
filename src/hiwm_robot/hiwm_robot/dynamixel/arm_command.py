# SPDX-License-Identifier: Apache-2.0
"""What an arm is commanded, and the goals on the way to it.

A command is reached over one period: the goal goes evenly from where it was when the command came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiwm_robot.dynamixel.arm_safety import GoalLimiter
from hiwm_robot.dynamixel.command_space import CommandSpace

FloatArray = NDArray[np.float64]

# rad; nearer than this the goal has reached what is commanded.
ALIGNED = 2e-3
# Of the way to a command, from which on it counts that the goal keeps up.
ALIGNED_SHARE = 0.5


@dataclass(eq=False)
class Command:
    """What was asked for last.

    Attributes:
        values: (A,), in the task's order and units.
        start: (A,), where the goal was when it came.
        arrived: s.
        sent: Whether a goal on the way to it has been sent.
        bound: Whether some limit has held a goal back on the way.
    """

    values: FloatArray
    start: FloatArray
    arrived: float
    sent: bool = False
    bound: bool = False


class CommandFollower:
    """The newest command, if there is one, as goals.

    Args:
        space: What commands mean.
        limiter: What goals may be.
        period: s, between commands.
        longest_step: s; a turn that took longer moves the goal no further than this allows.
    """

    def __init__(
        self, space: CommandSpace, limiter: GoalLimiter, period: float, longest_step: float
    ) -> None:
        self._space = space
        self._limiter = limiter
        self._period = period
        self._longest_step = longest_step
        self._command: Command | None = None

    @property
    def waits(self) -> bool:
        """Whether nothing is commanded."""
        return self._command is None

    def take(self, values: FloatArray, goal: FloatArray, arrived: float) -> None:
        """A command (A,) that came at a time (s) when the goal (J,) had been sent last."""
        start = self._space.to_values(goal)
        self._command = Command(np.array(values, np.float64), start, arrived)

    def forget(self) -> None:
        """Nothing is commanded any more."""
        self._command = None

    def age(self, now: float) -> float:
        """s since the command came; 0 without one."""
        return 0.0 if self._command is None else now - self._command.arrived

    def next_goal(
        self, goal: FloatArray, measured: FloatArray, elapsed: float, now: float, *, slow: bool
    ) -> tuple[FloatArray, bool]:
        """The goal that follows, and whether it keeps up with the command.

        Args:
            goal: rad (J,), what was sent last.
            measured: rad (J,).
            elapsed: s, since the turn before.
            now: s.
            slow: Not faster than the start speed.
        """
        command = self._command
        assert command is not None
        share = min(1.0, (now - command.arrived) / self._period + 1e-9)
        wanted = command.start + share * (command.values - command.start)
        target = self._space.to_angles(wanted, goal)
        if target is None:
            command.bound = True
            return goal, False
        seconds = min(elapsed, self._longest_step)
        following = self._limiter.limit(target, goal, measured, seconds, slow=slow)
        aligned = float(np.abs(target - following).max()) < ALIGNED
        command.bound |= not aligned
        return following, aligned and share > ALIGNED_SHARE

    def note_sent(self, now: float, tell: Callable[[float], object]) -> None:
        """A goal has been sent; of a command's first, `tell` hears how long (s) it took."""
        command = self._command
        if command is not None and not command.sent:
            command.sent = True
            tell(now - command.arrived)

    def executed(self, goal: FloatArray | None) -> FloatArray | None:
        """What was sent, in the task's values (A,); None before the first goal.

        A command that no limit has held back is sent as it is, over one period; of any other, and
        of a hold, it is the newest goal (J,).
        """
        command = self._command
        if command is not None and command.sent and not command.bound:
            return command.values
        return None if goal is None else self._space.to_values(goal)
