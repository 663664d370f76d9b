# SPDX-License-Identifier: Apache-2.0
"""Who proposes actions, and what locks everything: their settings, their newest word and its age.

Ages are measured on a steady clock from the moment of receipt, so that neither a paused nor a set
clock makes an old proposal young.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import yaml

from hiwm_core.action import Action
from hiwm_core.error import ConfigurationError

POLICY = 'policy'
HIGHEST_PRIORITY = 255


@dataclass(frozen=True)
class SourceSettings:
    """One entry of `sources` or `locks`.

    Attributes:
        name: Its key in the file.
        topic: Where it speaks.
        timeout: Seconds after which its last word is worth nothing.
        priority: 0 to 255.
    """

    name: str
    topic: str
    timeout: float
    priority: int


@dataclass(frozen=True)
class MuxSettings:
    """All sources and locks, by name; there is a source named `policy`."""

    sources: Mapping[str, SourceSettings]
    locks: Mapping[str, SourceSettings]


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
    unknown = set(data) - {'sources', 'locks'}
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
    return MuxSettings(sources, locks)


def _read_group(group: Any, kind: str, path: Path) -> dict[str, SourceSettings]:
    if group is None:
        return {}
    if not isinstance(group, dict):
        raise ConfigurationError(f'{path}: `{kind}` must hold named entries')
    return {str(name): _read_entry(entry, f'{kind}.{name}', path) for name, entry in group.items()}


def _read_entry(entry: Any, where: str, path: Path) -> SourceSettings:
    keys = {'topic', 'timeout', 'priority'}
    if not isinstance(entry, dict) or set(entry) != keys:
        raise ConfigurationError(f'{path}: {where} needs topic, timeout, priority and nothing else')
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
    return SourceSettings(where.split('.', maxsplit=1)[1], topic, float(timeout), priority)
