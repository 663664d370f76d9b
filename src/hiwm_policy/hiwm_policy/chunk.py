# SPDX-License-Identifier: Apache-2.0
"""Asynchronous chunks: which action answers which (epoch, step), and when the next is asked for.

A chunk planned from the observation of step s answers the steps s, s+1, ... as long as what it
proposes is what happens. Its life is the table PLAN:

- a new epoch drops it, and the history with it: the scene is another one;
- when somebody else's action was executed it is STALE: it still answers, for comparison, until it
  is used up, but it is not driven by again: when the policy's own actions are executed again, or
  the rig pauses so that the wheel may change hands, it is dropped and the next is planned from the
  newest observation;
- when the arm was held instead, what comes after is planned from what is seen then.

A chunk takes time to compute. When it comes, it is worth what it would be had it been there since
it was asked for; but holds alone do not drop it then, or a network that is slower than the rig
would never drive.

The frames of the past that a rig shows again after a discontinuity fill the history and are not
answered. A frame that is shown again (a rig that stands still does so) is answered as before.

`lead` is how many steps before its end a chunk's successor is asked for. With 0 (lockstep) a step
waits for the chunk that is planned from it: the same observations give the same actions. With 1 or
more (realtime) the old chunk goes on, if need be to the end of its horizon, until the new one is
there, so that a slow network never makes the rig wait.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.observation import Observation


class Plan(Enum):
    """What the chunk at hand is worth."""

    NONE = auto()
    FOLLOWED = auto()
    STALE = auto()


class Event(Enum):
    """What happens to a chunk."""

    NEW_EPOCH = auto()
    CHUNK = auto()
    OWN_EXECUTED = auto()
    OTHER_EXECUTED = auto()
    HELD = auto()
    PAUSED = auto()
    USED_UP = auto()


PLAN: dict[tuple[Plan, Event], Plan] = {
    (Plan.NONE, Event.NEW_EPOCH): Plan.NONE,
    (Plan.NONE, Event.CHUNK): Plan.FOLLOWED,
    (Plan.NONE, Event.OWN_EXECUTED): Plan.NONE,
    (Plan.NONE, Event.OTHER_EXECUTED): Plan.NONE,
    (Plan.NONE, Event.HELD): Plan.NONE,
    (Plan.NONE, Event.PAUSED): Plan.NONE,
    (Plan.NONE, Event.USED_UP): Plan.NONE,
    (Plan.FOLLOWED, Event.NEW_EPOCH): Plan.NONE,
    (Plan.FOLLOWED, Event.CHUNK): Plan.FOLLOWED,
    (Plan.FOLLOWED, Event.OWN_EXECUTED): Plan.FOLLOWED,
    (Plan.FOLLOWED, Event.OTHER_EXECUTED): Plan.STALE,
    (Plan.FOLLOWED, Event.HELD): Plan.NONE,
    (Plan.FOLLOWED, Event.PAUSED): Plan.FOLLOWED,
    (Plan.FOLLOWED, Event.USED_UP): Plan.NONE,
    (Plan.STALE, Event.NEW_EPOCH): Plan.NONE,
    (Plan.STALE, Event.CHUNK): Plan.FOLLOWED,
    (Plan.STALE, Event.OWN_EXECUTED): Plan.NONE,
    (Plan.STALE, Event.OTHER_EXECUTED): Plan.STALE,
    (Plan.STALE, Event.HELD): Plan.NONE,
    (Plan.STALE, Event.PAUSED): Plan.NONE,
    (Plan.STALE, Event.USED_UP): Plan.NONE,
}


_EXECUTED = {Source.POLICY: Event.OWN_EXECUTED, Source.HOLD: Event.HELD}


@dataclass(frozen=True, eq=False)
class Request:
    """A chunk to compute from a history, oldest first."""

    epoch: int
    step: int
    history: tuple[Observation, ...]


@dataclass(frozen=True, eq=False)
class Answer:
    """The action (A,) for a step, and its chunk's `Sample.spread`."""

    epoch: int
    step: int
    values: NDArray[np.float64]
    spread: float


@dataclass(frozen=True, eq=False)
class Sample:
    """What was drawn for a request.

    Attributes:
        chunk: float64 (n, A).
        spread: How far another sample lies apart from it, 1: the task's `max_step`; NaN: unknown.
    """

    chunk: NDArray[np.float64]
    spread: float = math.nan


@dataclass(frozen=True)
class Outcome:
    """What to do after an event: nothing, ask for a chunk, send an action, or both."""

    request: Request | None = None
    answer: Answer | None = None


@dataclass
class ChunkSchedule:
    """The state of a session's chunks.

    Attributes:
        context: To, how many observations a chunk is planned from.
        chunk_steps: Ta, how many steps it is executed.
        lead: How many steps before its end the next is asked for.
        dropped: Chunks that came too late, for an epoch that was over.
    """

    context: int
    chunk_steps: int
    lead: int = 0
    dropped: int = 0
    plan: Plan = Plan.NONE
    epoch: int = -1
    step: int = -1
    _history: deque[Observation] = field(default_factory=deque)
    _chunk: NDArray[np.float64] | None = None
    _chunk_step: int = -1
    _spread: float = math.nan
    _asked: Request | None = None
    _since: list[Event] = field(default_factory=list)  # executed since it was asked for
    _answer: Answer | None = None

    def observe(
        self, epoch: int, step: int, observation: Observation, *, context: bool = False
    ) -> Outcome:
        """A frame is there.

        Args:
            context: It is one of the past, shown again after a discontinuity.
        """
        if epoch != self.epoch:
            self._on(Event.NEW_EPOCH)
            self._history.clear()
            self._asked = self._answer = None
            self.epoch = epoch
        elif step <= self.step:
            return Outcome(answer=self._answer if step == self.step else None)
        self.step = step
        self._history.append(observation)
        while len(self._history) > self.context:
            self._history.popleft()
        return Outcome() if context else self._advance()

    def receive(self, request: Request, sample: Sample) -> Outcome:
        """The chunk of a request has been computed."""
        if request is not self._asked:
            self.dropped += 1
            return Outcome()
        self._asked = None
        self._on(Event.CHUNK)
        self._chunk, self._chunk_step, self._spread = sample.chunk, request.step, sample.spread
        for event in self._since:
            if event is not Event.HELD or self.plan is Plan.STALE:
                self._on(event)
        return self._advance()

    def failed(self, request: Request) -> None:
        """The chunk of a request could not be computed; the next frame asks again."""
        if request is self._asked:
            self._asked = None

    def executed(self, epoch: int, source: Source) -> None:
        """An action was executed; what follows from it follows at the frame that it led to."""
        if epoch == self.epoch:
            event = _EXECUTED.get(source, Event.OTHER_EXECUTED)
            if self._asked is not None:
                self._since.append(event)
            self._on(event)

    def paused(self) -> Outcome:
        """The rig stands still at the newest step, so the wheel may change hands.

        What is being planned from before somebody else's action is not waited for.
        """
        before = self.plan
        self._on(Event.PAUSED)
        if self._asked is not None and set(self._since) - {Event.OWN_EXECUTED}:
            self._asked = None
            return self._advance()
        return self._advance() if before is not self.plan else Outcome()

    def _on(self, event: Event) -> None:
        self.plan = PLAN[self.plan, event]
        if self.plan is Plan.NONE:
            self._chunk = None

    def _advance(self) -> Outcome:
        """The newest step's answer, if there is one, and the request that is due, if any."""
        age = self.step - self._chunk_step
        if self._chunk is not None:
            usable = len(self._chunk) if self.lead else self.chunk_steps
            if age >= usable:
                self._on(Event.USED_UP)
        answer = None
        if self._chunk is not None:
            answer = Answer(self.epoch, self.step, self._chunk[age], self._spread)
            self._answer = answer
        request = None
        due = self._chunk is None or age >= self.chunk_steps - self.lead
        if due and self._asked is None:
            request = Request(self.epoch, self.step, tuple(self._history))
            self._asked, self._since = request, []
        return Outcome(request, answer)
