# SPDX-License-Identifier: Apache-2.0
"""What is missing in a recording, as far as the graph itself says how much it published.

Senders count their messages (`Action.seq`, and the middleware's own numbers), the rig counts its
nodes, steps, epochs and executed actions, and the multiplexer the actions that it sent. Every image
and its RIG_STATE have one stamp. What was published before the first message that was heard, and
after the last, is not asked for.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from hiwm_core.contract import (
    ACTION,
    IMAGE,
    MUX_STATE,
    OPERATOR_ACTION,
    POLICY_ACTION,
    RIG_EXECUTED,
    RIG_STATE,
)

SENDERS_KEPT = 16
STAMPS_KEPT = 1000
# So many executed actions that the rig counted and none heard: that topic is not recorded at all.
NEVER_HEARD = 50
# The middleware numbers a publisher's messages from 1; this or more means that it does not.
NO_NUMBER = 2**62

DECODED_TOPICS = (ACTION, POLICY_ACTION, OPERATOR_ACTION, RIG_EXECUTED, RIG_STATE, MUX_STATE)


@dataclass(frozen=True)
class Loss:
    """Messages of one topic that were published and not recorded; `by` is what tells so."""

    topic: str
    missing: int
    by: str

    @property
    def sentence(self) -> str:
        """For a person."""
        what = '1 message is' if self.missing == 1 else f'{self.missing} messages are'
        return f'{what} missing on {self.topic}, by {self.by}'


class _Sender:
    """One sender: its newest number, and the sender whose continuation it may be after a gap."""

    def __init__(self, number: int, before: _Sender | None) -> None:
        self.last = number
        self.before = before
        self.gap = 0 if before is None else number - 1 - before.last


class Counter:
    """Numbers that rise by one for each sender, of senders that cannot be told apart.

    A number that continues nobody is a gap of the sender with the next lower number, or a sender
    that is heard late. It is the latter if that other sender goes on.

    Args:
        first: The number with which every sender begins.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._senders: list[_Sender] = []
        self._settled = 0

    @property
    def missing(self) -> int:
        """Numbers that nobody sent here."""
        return self._settled + sum(each.gap for each in self._senders if each.before)

    @property
    def last(self) -> int:
        """The newest number; -1 if there was none."""
        return self._senders[-1].last if self._senders else -1

    def take(self, number: int) -> None:
        """A message has come."""
        senders = self._senders
        for place in range(len(senders) - 1, -1, -1):
            sender = senders[place]
            if sender.last == number - 1:
                sender.last = number
                if place != len(senders) - 1:
                    senders.append(senders.pop(place))
                    for each in senders:
                        if each.before is sender:
                            each.before = None
                return
        silent = {id(each.before) for each in senders}
        lower = [each for each in senders if each.last < number and id(each) not in silent]
        before = max(lower, key=lambda each: each.last, default=None)
        senders.append(_Sender(number, None if number <= self._first else before))
        if len(senders) > SENDERS_KEPT:
            oldest = senders.pop(0)
            for each in senders:
                if each.before is oldest:
                    self._settled += each.gap
                    each.before = None


class _Rig:
    """What RIG_STATE tells of itself and of RIG_EXECUTED.

    States are latched and executed actions are not: who listens from a later moment on hears states
    of actions that it cannot have heard. It is counted from the first executed action on.
    """

    def __init__(self) -> None:
        self.missing_nodes = 0
        self.missing_steps = 0
        self.missing_epochs = 0
        self._risen = 0
        self._base = 0
        self._heard = 0
        self._ahead: list[int] = []
        self._stamp = -1
        self._rig: tuple[str, str] | None = None
        self._epoch = self._node = self._step = self._count = 0

    @property
    def missing_executed(self) -> int:
        """Executed actions that the rig counted and that were not heard."""
        if not self._heard:
            return self._risen if self._risen > NEVER_HEARD else 0
        return max(0, self._risen - self._base - self._heard)

    def executed(self, stamp: int) -> None:
        if self._stamp < 0:
            return
        if stamp > self._stamp:
            self._ahead.append(stamp)
            return
        # Its state came before it, and what that state counted is this action or an earlier one.
        if not self._heard:
            self._base = self._risen - 1
        self._heard += 1

    def state(self, message: Any, stamp: int) -> None:
        epoch, node, step = int(message.epoch), int(message.node), int(message.step)
        count, rig = int(message.executed_actions), (str(message.rig), str(message.session))
        if rig != self._rig:
            # The first one; or another, whose counts say nothing of this one's.
            self._rig, self._node = rig, 0
        elif epoch < self._epoch or count < self._count:
            # The rig was started anew: it counts from 0.
            self._risen += count
            self._node = 0
        else:
            self._risen += count - self._count
            self.missing_epochs += max(0, epoch - self._epoch - 1)
            if not message.context:
                if node and self._node:
                    self.missing_nodes += max(0, node - self._node - 1)
                elif not node and epoch == self._epoch:
                    self.missing_steps += max(0, step - self._step - 1)
        self._epoch, self._step, self._count = epoch, step, count
        self._node = max(self._node, node)
        self._stamp = max(self._stamp, stamp)
        due = sum(each <= self._stamp for each in self._ahead)
        if due:
            if not self._heard:
                self._base = self._risen - due
            self._heard += due
            self._ahead = self._ahead[due:]


class _Pairing:
    """Frames that should have an image of the same stamp."""

    def __init__(self) -> None:
        self._images: dict[int, None] = {}
        self._states: dict[int, None] = {}
        self._first = self._last = -1
        self._settled = 0

    @property
    def missing(self) -> int:
        return self._settled + sum(self._first <= each <= self._last for each in self._states)

    def image(self, stamp: int) -> None:
        self._first = stamp if self._first < 0 else self._first
        self._last = max(self._last, stamp)
        if stamp in self._states:
            del self._states[stamp]
        else:
            self._keep(self._images, stamp)

    def state(self, stamp: int) -> None:
        if stamp in self._images:
            del self._images[stamp]
            return
        oldest = self._keep(self._states, stamp)
        self._settled += oldest is not None and 0 <= self._first <= oldest

    @staticmethod
    def _keep(stamps: dict[int, None], stamp: int) -> int | None:
        """Add a stamp; returns the oldest one if there are too many, and forgets it."""
        stamps[stamp] = None
        if len(stamps) <= STAMPS_KEPT:
            return None
        oldest = next(iter(stamps))
        del stamps[oldest]
        return oldest


class Continuity:
    """Told of every message, it knows what is missing."""

    def __init__(self) -> None:
        self.recorded: dict[str, int] = defaultdict(int)
        self._numbers: dict[str, Counter] = defaultdict(lambda: Counter(1))
        self._sequences = {
            topic.name: Counter(0) for topic in (ACTION, POLICY_ACTION, OPERATOR_ACTION)
        }
        self._rig = _Rig()
        self._pairing = _Pairing()
        self._sent = 0

    def number(self, topic: str, number: int | None) -> None:
        """The middleware's number of a message, if it gives one."""
        if number is not None and 0 < number < NO_NUMBER:
            self._numbers[topic].take(number)

    def image(self, stamp: int) -> None:
        """An image with this header stamp (ns)."""
        self._pairing.image(stamp)

    def take(self, topic: str, message: Any) -> None:
        """A decoded message of one of DECODED_TOPICS."""
        if topic in self._sequences:
            self._sequences[topic].take(int(message.seq))
        elif topic == MUX_STATE.name:
            self._sent = int(message.sent_actions)
        elif topic == RIG_STATE.name:
            stamp = _nanoseconds(message.header.stamp)
            self._rig.state(message, stamp)
            self._pairing.state(stamp)
        elif topic == RIG_EXECUTED.name:
            self._rig.executed(_nanoseconds(message.header.stamp))

    def losses(self) -> list[Loss]:
        """One for each topic of which something is missing, by what tells the most."""
        found = [
            Loss(topic, counter.missing, "the middleware's numbers")
            for topic, counter in self._numbers.items()
        ]
        found += [
            Loss(topic, counter.missing, 'Action.seq') for topic, counter in self._sequences.items()
        ]
        sent = self._sequences[ACTION.name]
        unheard = self._sent - 1 - sent.last if sent.last >= 0 else 0
        rig = self._rig
        found += [
            Loss(ACTION.name, sent.missing + max(0, unheard), 'MuxState.sent_actions'),
            Loss(RIG_STATE.name, rig.missing_nodes, 'RigState.node'),
            Loss(RIG_STATE.name, rig.missing_steps, 'RigState.step'),
            Loss(RIG_STATE.name, rig.missing_epochs, 'RigState.epoch'),
            Loss(RIG_EXECUTED.name, rig.missing_executed, 'RigState.executed_actions'),
            Loss(IMAGE.name, self._pairing.missing, 'the stamps of RigState'),
        ]
        worst: dict[str, Loss] = {}
        for loss in found:
            if loss.missing > worst.get(loss.topic, Loss('', 0, '')).missing:
                worst[loss.topic] = loss
        return list(worst.values())


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
