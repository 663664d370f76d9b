# SPDX-License-Identifier: Apache-2.0
"""What the rig shows of itself, and the multiplexer's wish that it runs or stands still.

The rig is asked one thing at a time. A question is settled when the rig shows the mode that was
asked for, when it refuses, or when it has not shown it in time; only then comes the next. Thus a
state that was on its way before the question is never taken for an answer to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import math

from hiwm_core.rig import Mode, Pace
from hiwm_rig.pacing import Advance

COMMAND_TIMEOUT = 2.0  # s


class Command(Enum):
    """What the rig is asked for."""

    PAUSE = 'pause'
    RESUME = 'resume'


WANTED_MODE = {Command.PAUSE: Mode.PAUSED, Command.RESUME: Mode.RUNNING}


@dataclass(frozen=True)
class RigView:
    """What `/rig/state` says, as far as it matters here; `period` in seconds, as it runs now."""

    epoch: int
    step: int
    mode: Mode
    pace: Pace
    period: float
    can_pause: bool = True
    message: str = ''
    node: int = 0
    advance: Advance = Advance.ALWAYS
    can_set_pace: bool = False
    progress: float = math.nan
    fidelity: float = math.nan


class RigMode:
    """The wish, the question under way, and what the rig showed last."""

    def __init__(self) -> None:
        self.asked: Command | None = None
        self._wanted: Command | None = None
        self._asked_at = -math.inf

    @property
    def settled(self) -> bool:
        """Nothing is wished for or asked, so that a change of mode is somebody else's doing."""
        return self.asked is None and self._wanted is None

    @property
    def pausing(self) -> bool:
        """The rig is going to be paused."""
        return Command.PAUSE in {self.asked, self._wanted}

    def show(self, rig: RigView) -> None:
        """The rig has shown its mode."""
        if self.asked is not None and rig.mode is WANTED_MODE[self.asked]:
            self.asked = None

    def run(self, rig: RigView) -> None:
        """Wish that the rig runs."""
        runs = rig.mode is Mode.RUNNING and self.asked is not Command.PAUSE
        self._wanted = None if runs else Command.RESUME

    def stand(self, rig: RigView) -> None:
        """Wish that the rig stands still, if it can."""
        stands = rig.mode is not Mode.RUNNING and self.asked is not Command.RESUME
        self._wanted = None if stands or not rig.can_pause else Command.PAUSE

    def forget(self, rig: RigView) -> None:
        """The scene was moved: it has to stand, also if it was just asked to run."""
        self.stand(rig)
        self.asked = None

    def next_command(self, now: float) -> Command | None:
        """What to ask the rig now, if anything."""
        if self.asked is not None or self._wanted is None:
            return None
        self.asked, self._wanted = self._wanted, None
        self._asked_at = now
        return self.asked

    def refused(self, command: Command) -> bool:
        """The rig refused; false if that question has been settled already."""
        if command is not self.asked:
            return False
        self.asked = None
        return True

    def overdue(self, now: float) -> Command | None:
        """The question that the rig has not settled in time."""
        late = self.asked is not None and now - self._asked_at > COMMAND_TIMEOUT
        return self.asked if late else None
