# SPDX-License-Identifier: Apache-2.0
"""When to ask for a person: what is watched while the policy drives, and when it is enough.

Each trigger looks at one number a step. The table CHECKS holds them all: from a trigger's settings
and the newest numbers it gives a sentence with the figures once it fires. Numbers that are not
known (NaN) never fire a trigger and interrupt its count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
import math
from typing import Any

from hiwm_core.entry import Entry
from hiwm_core.error import ConfigurationError


class Trigger(IntEnum):
    """The constants TRIGGER_* of `hiwm_msgs/msg/MuxState`."""

    NONE = 0
    FIDELITY = 1
    STALL = 2
    SPREAD = 3


@dataclass(frozen=True)
class Threshold:
    """One trigger's setting: `limit` in the unit of its number, `steps` that it has to last."""

    limit: float
    steps: int


# Those that are switched on.
Thresholds = Mapping[Trigger, Threshold]

# What the threshold is called in the file.
LIMIT_NAMES = {Trigger.FIDELITY: 'below', Trigger.STALL: 'gain', Trigger.SPREAD: 'above'}


@dataclass(frozen=True)
class Bookmark:
    """A node of the rig to keep under a name, such as `fidelity-0042` at step 42."""

    name: str
    node: int


def _fidelity(threshold: Threshold, values: Sequence[float]) -> str:
    newest = values[-threshold.steps :]
    if len(newest) < threshold.steps or not all(value < threshold.limit for value in newest):
        return ''
    return (
        f'the fidelity was below {threshold.limit:g} for {threshold.steps} steps '
        f'(now {newest[-1]:.3g})'
    )


def _stall(threshold: Threshold, values: Sequence[float]) -> str:
    newest = values[-threshold.steps - 1 :]
    if len(newest) <= threshold.steps or not all(map(math.isfinite, newest)):
        return ''
    gain = max(newest) - newest[0]
    if gain > threshold.limit:
        return ''
    return (
        f'the progress gained no more than {threshold.limit:g} in {threshold.steps} steps '
        f'(from {newest[0]:.3g} to {max(newest):.3g} at best)'
    )


def _spread(threshold: Threshold, values: Sequence[float]) -> str:
    newest = values[-threshold.steps :]
    if len(newest) < threshold.steps or not all(value > threshold.limit for value in newest):
        return ''
    return (
        f"the policy's samples lay more than {threshold.limit:g} apart for {threshold.steps} steps "
        f'(now {newest[-1]:.3g})'
    )


CHECKS: dict[Trigger, Callable[[Threshold, Sequence[float]], str]] = {
    Trigger.FIDELITY: _fidelity,
    Trigger.STALL: _stall,
    Trigger.SPREAD: _spread,
}


class TriggerWatch:
    """The numbers of one stretch in which the policy drives.

    Args:
        thresholds: Of the triggers that are on.
        done_above: Progress beyond which the task is done, so that no gain is no stall.

    Attributes:
        fired: What led to the present pause.
    """

    def __init__(self, thresholds: Thresholds, done_above: float) -> None:
        self.fired = Trigger.NONE
        self._done_above = done_above
        self._bookmarks: deque[Bookmark] = deque()
        self._thresholds = thresholds
        self._values = {
            trigger: deque[float](maxlen=threshold.steps + 1)
            for trigger, threshold in thresholds.items()
        }

    def begin(self) -> None:
        """The phase is another one: another stretch begins."""
        self.fired = Trigger.NONE
        self.clear()

    def clear(self) -> None:
        """Another stretch begins, in the same phase."""
        for values in self._values.values():
            values.clear()

    def see(self, trigger: Trigger, value: float) -> str:
        """The number of one more step; returns why the trigger fires, or nothing."""
        values = self._values.get(trigger)
        if values is None:
            return ''
        if trigger is Trigger.STALL and value > self._done_above:
            value = math.nan
        values.append(value)
        return CHECKS[trigger](self._thresholds[trigger], list(values))

    def fire(self, trigger: Trigger, node: int, step: int) -> None:
        """The phase is PAUSED now for a trigger's sake; the node is to be kept under a name."""
        self.fired = trigger
        self._bookmarks.append(Bookmark(f'{trigger.name.lower()}-{step:04d}', node))

    def next_bookmark(self) -> Bookmark | None:
        """A bookmark that has not been set yet, once."""
        return self._bookmarks.popleft() if self._bookmarks else None


def read_triggers(data: Any, source: str) -> Thresholds:
    """The entry `triggers` of the multiplexer's file; None: all are off.

    Raises:
        ConfigurationError: It is not right; the sentence says where.
    """
    if data is None:
        return {}
    whole = Entry({'triggers': data}, source).entry('triggers')
    known = {trigger.name.lower(): trigger for trigger in LIMIT_NAMES}
    thresholds = {}
    for name in whole.names():
        if name not in known:
            raise ConfigurationError(
                f"{source}: there is no trigger '{name}'; the triggers are: {', '.join(known)}"
            )
        entry, trigger = whole.entry(name), known[name]
        enabled = entry.flag('enabled')
        threshold = Threshold(entry.number(LIMIT_NAMES[trigger]), entry.integer('steps'))
        entry.finish()
        if threshold.steps < 1:
            raise ConfigurationError(
                f'{source}: triggers.{name}.steps is {threshold.steps}; it must be at least 1'
            )
        if enabled:
            thresholds[trigger] = threshold
    return thresholds
