# SPDX-License-Identifier: Apache-2.0
"""Who may drive: the phases of a takeover, the events between them, and the operator's token.

    AUTONOMOUS -pause-> PAUSED -take_over-> HANDOVER -aligned-> CORRECTING -release-> PAUSED
    PAUSED -resume-> AUTONOMOUS, and a lock from anywhere -> LOCKED -reset-> PAUSED

The table below is the whole of it. A pair that it does not name is illegal: a person's request is
refused with a sentence, what the multiplexer itself observes is ignored. The token belongs to one
operator from the takeover until the phase is neither HANDOVER nor CORRECTING.

Another operator may ask for the token. That changes no phase: who holds it sees the question and
decides. The question stands until the token is let go, or for 30 s; to ask again prolongs it, and
the release of somebody who only asked takes it back.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
import math
import time

from hiwm_core.error import ErrorCode, HiwmError

ASK_LASTS = 30.0  # s


class Phase(IntEnum):
    """The constants PHASE_* of `hiwm_msgs/msg/MuxState`."""

    AUTONOMOUS = 1
    PAUSED = 2
    HANDOVER = 3
    CORRECTING = 4
    LOCKED = 5


class Event(IntEnum):
    """What a person asks for (EVENT_* of `hiwm_msgs/srv/Takeover`), and what is observed."""

    PAUSE = 1
    RESUME = 2
    TAKE_OVER = 3
    RELEASE = 4
    LOCK = 5
    RESET = 6
    ASK = 7
    ALIGNED = 101  # the operator's proposal is within reach: nothing jumps any more
    OPERATOR_LOST = 102  # the dead-man was let go, or its samples stay away
    DISCONTINUITY = 103  # the rig was reset, rolled back or branched
    RIG_STOPPED = 104  # the rig was paused by somebody else, or stopped by a fault
    TRIGGERED = 105  # one of the configured triggers asks for a person
    RECORDING_FAILED = 106  # the recorder cannot go on


REQUESTS = frozenset(event for event in Event if event < Event.ALIGNED)
DRIVEN = frozenset({Phase.AUTONOMOUS, Phase.HANDOVER, Phase.CORRECTING})
HELD_BY_OPERATOR = frozenset({Phase.HANDOVER, Phase.CORRECTING})
ON_ITS_WAY = 1.0  # s; a state that was told before a request was granted has arrived by then

TABLE: dict[tuple[Phase, Event], Phase] = {
    (Phase.AUTONOMOUS, Event.PAUSE): Phase.PAUSED,
    (Phase.AUTONOMOUS, Event.TAKE_OVER): Phase.HANDOVER,
    (Phase.AUTONOMOUS, Event.LOCK): Phase.LOCKED,
    (Phase.AUTONOMOUS, Event.DISCONTINUITY): Phase.PAUSED,
    (Phase.AUTONOMOUS, Event.RIG_STOPPED): Phase.PAUSED,
    (Phase.AUTONOMOUS, Event.TRIGGERED): Phase.PAUSED,
    (Phase.AUTONOMOUS, Event.RECORDING_FAILED): Phase.PAUSED,
    (Phase.PAUSED, Event.RESUME): Phase.AUTONOMOUS,
    (Phase.PAUSED, Event.TAKE_OVER): Phase.HANDOVER,
    (Phase.PAUSED, Event.LOCK): Phase.LOCKED,
    (Phase.PAUSED, Event.DISCONTINUITY): Phase.PAUSED,
    (Phase.PAUSED, Event.RECORDING_FAILED): Phase.PAUSED,
    (Phase.HANDOVER, Event.PAUSE): Phase.PAUSED,
    (Phase.HANDOVER, Event.RELEASE): Phase.PAUSED,
    (Phase.HANDOVER, Event.ASK): Phase.HANDOVER,
    (Phase.HANDOVER, Event.ALIGNED): Phase.CORRECTING,
    (Phase.HANDOVER, Event.LOCK): Phase.LOCKED,
    (Phase.HANDOVER, Event.OPERATOR_LOST): Phase.PAUSED,
    (Phase.HANDOVER, Event.DISCONTINUITY): Phase.PAUSED,
    (Phase.HANDOVER, Event.RIG_STOPPED): Phase.PAUSED,
    (Phase.HANDOVER, Event.RECORDING_FAILED): Phase.PAUSED,
    (Phase.CORRECTING, Event.PAUSE): Phase.PAUSED,
    (Phase.CORRECTING, Event.RELEASE): Phase.PAUSED,
    (Phase.CORRECTING, Event.ASK): Phase.CORRECTING,
    (Phase.CORRECTING, Event.LOCK): Phase.LOCKED,
    (Phase.CORRECTING, Event.OPERATOR_LOST): Phase.PAUSED,
    (Phase.CORRECTING, Event.DISCONTINUITY): Phase.PAUSED,
    (Phase.CORRECTING, Event.RIG_STOPPED): Phase.PAUSED,
    (Phase.CORRECTING, Event.RECORDING_FAILED): Phase.PAUSED,
    (Phase.LOCKED, Event.LOCK): Phase.LOCKED,
    (Phase.LOCKED, Event.RESET): Phase.PAUSED,
}


class Takeover:
    """The phase, and who holds the operator's token. It begins PAUSED.

    Args:
        clock: Seconds on a steady clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.phase = Phase.PAUSED
        self.operator_id = ''
        self._clock = clock
        self._asker = ''
        self._asked_at = -math.inf
        self._held_since = math.nan
        self._held_before = 0.0

    @property
    def asked_by(self) -> str:
        """Another operator who asks for the token; empty: nobody."""
        return self._asker if self._clock() - self._asked_at <= ASK_LASTS else ''

    @property
    def human_time(self) -> float:
        """Seconds in which an operator held the token, all takeovers together."""
        if self.phase not in HELD_BY_OPERATOR:
            return self._held_before
        return self._held_before + self._clock() - self._held_since

    def request(self, event: Event, operator_id: str) -> Phase:
        """What a person asks for.

        Args:
            event: One of `REQUESTS`.
            operator_id: Who asks; a takeover, and asking for one, needs a name.

        Returns:
            The phase afterwards.

        Raises:
            HiwmError: ILLEGAL_EVENT, TOKEN_HELD or INVALID_ARGUMENT; nothing has changed.
        """
        if event in {Event.TAKE_OVER, Event.ASK} and not operator_id:
            raise HiwmError('a takeover needs an operator_id, so that the token has an owner')
        if event is Event.RELEASE and operator_id and operator_id == self.asked_by:
            self._asker = ''
            return self.phase
        if event in {Event.TAKE_OVER, Event.RELEASE} and self.operator_id not in {'', operator_id}:
            raise HiwmError(
                f"operator '{self.operator_id}' holds the token; ask them to release it first",
                ErrorCode.TOKEN_HELD,
            )
        if (self.phase, event) not in TABLE:
            legal = ', '.join(
                one.name.lower() for one in sorted(REQUESTS) if (self.phase, one) in TABLE
            )
            raise HiwmError(
                f"the event '{event.name.lower()}' is not possible in the phase {self.phase.name}; "
                f'there you can: {legal}',
                ErrorCode.ILLEGAL_EVENT,
            )
        if event is Event.ASK:
            self._ask(operator_id)
        elif event is Event.TAKE_OVER:
            self.operator_id = operator_id
        return self._go(event)

    def observe(self, event: Event) -> bool:
        """What the multiplexer noticed; returns whether the table knows it in this phase."""
        if (self.phase, event) not in TABLE:
            return False
        self._go(event)
        return True

    def _ask(self, operator_id: str) -> None:
        if operator_id == self.operator_id:
            raise HiwmError(f"operator '{operator_id}' holds the token already; just drive")
        if self.asked_by not in {'', operator_id}:
            raise HiwmError(
                f"operator '{self.asked_by}' has asked before; ask again in {ASK_LASTS:g} s",
                ErrorCode.TOKEN_HELD,
            )
        self._asker, self._asked_at = operator_id, self._clock()

    def _go(self, event: Event) -> Phase:
        before, self.phase = self.phase, TABLE[self.phase, event]
        if before not in HELD_BY_OPERATOR and self.phase in HELD_BY_OPERATOR:
            self._held_since = self._clock()
        elif before in HELD_BY_OPERATOR and self.phase not in HELD_BY_OPERATOR:
            self._held_before += self._clock() - self._held_since
        if self.phase not in HELD_BY_OPERATOR:
            self.operator_id = self._asker = ''
        return self.phase
