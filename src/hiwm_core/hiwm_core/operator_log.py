# SPDX-License-Identifier: Apache-2.0
"""What MUX_STATE said while a session was recorded: phases, automatic pauses, operator time."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PHASE_UNKNOWN, PHASE_CORRECTING = 0, 4  # MuxState.PHASE_*


class OperatorLog:
    """Takes the multiplexer's states in the order of receipt.

    Attributes:
        takeovers: How often an operator began to drive.
    """

    def __init__(self) -> None:
        self.takeovers = 0
        self._stamps: list[int] = []
        self._phases: list[int] = []
        self._human: list[float] = []  # s, all multiplexers of the session together
        self._triggers: dict[tuple[int, int], int] = {}
        self._before = 0.0
        self._newest = math.nan
        self._phase = self._trigger = 0

    @property
    def human_time(self) -> float:
        """Seconds in which an operator held the token; NaN where no state told it."""
        return self._human[-1] if self._human else math.nan

    def begin_bag(self) -> None:
        """What comes now is of another bag, and of a multiplexer that was started anew."""
        self._phase = self._trigger = 0
        if not math.isnan(self._newest):
            self._before, self._newest = self._before + self._newest, 0.0

    def take(self, message: Any) -> None:
        """A MUX_STATE."""
        phase, trigger = int(message.phase), int(getattr(message, 'trigger', 0))
        human = float(getattr(message, 'human_time', math.nan))
        stamp = message.header.stamp
        if not math.isnan(human):
            if human < self._newest:
                self._before += self._newest
            self._newest = human
        self._stamps.append(int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec))
        self._phases.append(phase)
        self._human.append(self._before + human)
        self.takeovers += phase == PHASE_CORRECTING != self._phase
        if trigger and trigger != self._trigger:
            self._triggers[int(message.epoch), int(message.step)] = trigger
        self._phase, self._trigger = phase, trigger

    def phases(self, sent: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The phase (N,) at each time (N,), in ns; unknown before the first state and for 0."""
        places, known = self._places(sent)
        phases = np.full(len(sent), PHASE_UNKNOWN, np.uint8)
        phases[known] = np.array(self._phases, np.uint8)[places[known]]
        return phases

    def human_seconds(self, sent: NDArray[np.int64]) -> NDArray[np.float64]:
        """The operator time (N,) that came to each time (N,), in ns, since the one before it."""
        places, known = self._places(sent)
        seconds = np.full(len(sent), math.nan)
        order = np.flatnonzero(known)[np.argsort(sent[known], kind='stable')]
        if order.size:
            reached = np.array(self._human)[places[order]]
            seconds[order] = np.diff(reached, prepend=0.0)
        return seconds

    def triggers(self, answered: Sequence[tuple[int, int] | None]) -> NDArray[np.uint8]:
        """The automatic pause (N,) that came after each answered (epoch, step)."""
        return np.array(
            [self._triggers.get(step, 0) if step is not None else 0 for step in answered], np.uint8
        )

    def _places(self, sent: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """The newest state at each time, and where there is one."""
        stamps = np.array(self._stamps, np.int64)
        order = np.argsort(stamps, kind='stable')
        places = np.searchsorted(stamps[order], sent, side='right') - 1
        known = (places >= 0) & (sent > 0)
        return order[np.maximum(places, 0)] if len(order) else places, known
