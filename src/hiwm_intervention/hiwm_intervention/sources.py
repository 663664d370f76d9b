# SPDX-License-Identifier: Apache-2.0
"""Who proposes actions, and what locks everything: their settings, their newest word and its age.

Several sources may share a topic; then each names the devices whose messages are its own, and one
that names none gets all others. Ages are measured on a steady clock from the moment of receipt, so
that neither a paused nor a set clock makes an old proposal young.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
import math
from pathlib import Path
from typing import Any

import yaml

from hiwm_core.action import Action
from hiwm_core.error import ConfigurationError
from hiwm_intervention.trigger import Thresholds, read_triggers

POLICY = 'policy'
HIGHEST_PRIORITY = 255


class Handover(Enum):
    """How the wheel goes to a device without a jump."""

    RELATIVE = 'relative'  # it commands motions: it begins where the arm is
    PASSIVE = 'passive'  # it has a position and cannot be moved: the arm slides to it
    ACTUATED = 'actuated'  # it has a position and a motor: it is driven to the arm first


@dataclass(frozen=True)
class SourceSettings:
    """One entry of `sources` or `locks`.

    Attributes:
        name: Its key in the file.
        topic: Where it speaks.
        timeout: Seconds after which its last word is worth nothing.
        priority: 0 to 255.
        handover: An operator's device: how it takes the wheel.
        devices: Whose messages on the topic are its own; empty: whoever no other source names.
    """

    name: str
    topic: str
    timeout: float
    priority: int
    handover: Handover = Handover.RELATIVE
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class MuxSettings:
    """Sources and locks by name, there is a source named `policy`; and when to ask for a person."""

    sources: Mapping[str, SourceSettings]
    locks: Mapping[str, SourceSettings]
    triggers: Thresholds = field(default_factory=dict)

    def source_of(self, topic: str, device: str) -> str:
        """The source that a device's message on a topic belongs to; empty: none."""
        here = [source for source in self.sources.values() if source.topic == topic]
        named = [source.name for source in here if device in source.devices]
        others = [source.name for source in here if not source.devices]
        return (named or others or [''])[0]


class ProposalSource:
    """A source and its newest proposal."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self.proposal: Action | None = None
        self.received = -math.inf

    def take(self, proposal: Action, now: float) -> None:
        """A valid proposal came in."""
        self.proposal = proposal
        self.received = now

    def clear(self) -> None:
        """Forget the proposal; the age goes on."""
        self.proposal = None

    def age(self, now: float) -> float:
        """Seconds since the last valid proposal; NaN before the first."""
        return now - self.received if math.isfinite(self.received) else math.nan

    def is_fresh(self, now: float) -> bool:
        """Whether there is a proposal within the timeout."""
        return self.proposal is not None and now - self.received <= self.settings.timeout


class Lock:
    """A lock and its last level."""

    def __init__(self, settings: SourceSettings) -> None:
        self.settings = settings
        self.level = False
        self.received = -math.inf

    def take(self, level: bool, now: float) -> None:
        """A level came in."""
        self.level = level
        self.received = now

    def reason(self, now: float) -> str:
        """Why everything is locked; empty if it is not."""
        if self.level:
            return f"the lock '{self.settings.name}' is set"
        if math.isfinite(self.received) and now - self.received > self.settings.timeout:
            return f"the lock '{self.settings.name}' has fallen silent"
        return ''


class Locks:
    """All locks."""

    def __init__(self, settings: Mapping[str, SourceSettings]) -> None:
        self._locks = {name: Lock(lock) for name, lock in settings.items()}

    def take(self, name: str, level: bool, now: float) -> None:
        """A lock says whether it is set."""
        self._locks[name].take(level, now)

    def reason(self, now: float) -> str:
        """What the lock of the highest priority says; empty if none is set."""
        by_priority = sorted(self._locks.values(), key=lambda lock: -lock.settings.priority)
        return next((reason for lock in by_priority if (reason := lock.reason(now))), '')


def read_settings(path: Path) -> MuxSettings:
    """Read and check a file of the shape of `config/action_mux.yaml`.

    Raises:
        ConfigurationError: The file cannot be read or is not right; the sentence says where.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read: {error.strerror}') from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f'{path} is not YAML: {error}') from error
    if not isinstance(data, dict):
        raise ConfigurationError(f'{path} needs the entries `sources` and `locks`')
    unknown = set(data) - {'sources', 'locks', 'triggers'}
    if unknown:
        raise ConfigurationError(f'{path} has an unknown entry: {", ".join(map(str, unknown))}')
    sources = _read_group(data.get('sources'), 'sources', path)
    locks = _read_group(data.get('locks'), 'locks', path)
    if POLICY not in sources:
        raise ConfigurationError(f"{path} needs a source named '{POLICY}'")
    if len(sources) < 2:
        raise ConfigurationError(f"{path} needs an operator's device among its sources")
    priorities = [source.priority for source in sources.values()]
    if len(set(priorities)) != len(priorities):
        raise ConfigurationError(f'{path} gives two sources the same priority')
    _check_devices(sources, path)
    return MuxSettings(sources, locks, read_triggers(data.get('triggers'), str(path)))


def _check_devices(sources: Mapping[str, SourceSettings], path: Path) -> None:
    """No message may belong to two sources."""
    claimed: dict[tuple[str, str], str] = {}
    for source in sources.values():
        for device in source.devices or ('',):
            other = claimed.setdefault((source.topic, device), source.name)
            if other != source.name:
                what = f"the device '{device}'" if device else 'all devices that nobody names'
                raise ConfigurationError(
                    f"{path} gives {what} on {source.topic} to both '{other}' and '{source.name}'; "
                    'name the devices of one of them'
                )


def _read_group(group: Any, kind: str, path: Path) -> dict[str, SourceSettings]:
    if group is None:
        return {}
    if not isinstance(group, dict):
        raise ConfigurationError(f'{path}: `{kind}` must hold named entries')
    return {str(name): _read_entry(entry, f'{kind}.{name}', path) for name, entry in group.items()}


def _read_entry(entry: Any, where: str, path: Path) -> SourceSettings:
    kind, name = where.split('.', maxsplit=1)
    keys = {'topic', 'timeout', 'priority'}
    optional = {'handover', 'devices'} if kind == 'sources' and name != POLICY else set()
    if not isinstance(entry, dict) or not keys <= set(entry) <= keys | optional:
        also = f'; {" and ".join(sorted(optional))} may be added' if optional else ''
        raise ConfigurationError(
            f'{path}: {where} needs topic, timeout, priority and nothing else{also}'
        )
    timeout, priority = entry['timeout'], entry['priority']
    if (
        isinstance(timeout, bool)
        or not isinstance(timeout, int | float)
        or not 0 < timeout < math.inf
    ):
        raise ConfigurationError(
            f'{path}: {where}.timeout is {timeout}; it must be larger than 0 s, '
            'for what never expires would drive for ever'
        )
    if (
        isinstance(priority, bool)
        or not isinstance(priority, int)
        or not 0 <= priority <= HIGHEST_PRIORITY
    ):
        raise ConfigurationError(
            f'{path}: {where}.priority is {priority}; it must be a whole number '
            f'from 0 to {HIGHEST_PRIORITY}'
        )
    topic = entry['topic']
    if not isinstance(topic, str) or not topic:
        raise ConfigurationError(f'{path}: {where}.topic must be the name of a topic')
    handovers = {handover.value: handover for handover in Handover}
    handover = entry.get('handover', Handover.RELATIVE.value)
    if handover not in handovers:
        raise ConfigurationError(
            f'{path}: {where}.handover is {handover}; it must be one of: {", ".join(handovers)}'
        )
    devices = entry.get('devices', [])
    if not isinstance(devices, list) or not all(
        isinstance(device, str) and device for device in devices
    ):
        raise ConfigurationError(f'{path}: {where}.devices must be a list of names')
    return SourceSettings(
        name, topic, float(timeout), priority, handovers[handover], tuple(devices)
    )
