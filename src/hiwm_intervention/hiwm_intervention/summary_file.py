# SPDX-License-Identifier: Apache-2.0
"""A recording's summary on disk: one event a line in JSON, the figures last.

It lies beside its bag as `BAG.summary.jsonl` and is there once the recording has ended; until then
it grows under a hidden name, so that pictures take no memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import json
import math
from pathlib import Path
from typing import Any

from hiwm_core.bag_reader import BagReader
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_intervention.session_summary import READ_TOPICS, Event, SessionSummary

SUFFIX = '.summary.jsonl'


class SummaryFile:
    """The summary of a bag being written; raises OSError."""

    def __init__(self, bag: Path) -> None:
        self.path = summary_path(bag)
        self._partial = bag.with_name(f'.{bag.name}{SUFFIX}')
        self._file = self._partial.open('w', encoding='utf-8')

    def keep(self, event: Event) -> None:
        """Append an event."""
        json.dump(plain(event), self._file, separators=(',', ':'), allow_nan=False)
        self._file.write('\n')

    def finish(self, totals: Event) -> None:
        """Append the figures, put the file in place."""
        self.keep(totals)
        self._file.close()
        self._partial.replace(self.path)

    def abandon(self) -> None:
        """There will be no summary."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)


def summary_path(bag: Path) -> Path:
    """Where the summary of a bag lies."""
    return bag.with_name(f'{bag.name}{SUFFIX}')


def read_summary(path: Path) -> tuple[list[Event], Event]:
    """Events and figures.

    Raises:
        HiwmError: STORAGE_FAULT: the file cannot be read or is not a summary.
    """
    try:
        events = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
        if not events or events[-1]['kind'] != 'totals':
            raise ValueError('it has no end')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HiwmError(f'{path} is not a summary: {error}', ErrorCode.STORAGE_FAULT) from error
    return events[:-1], events[-1]


def summarize(bag: Path, remark: str = '') -> None:
    """Write the summary of a finished bag.

    Args:
        bag: Its folder.
        remark: A sentence on how the recording ended.

    Raises:
        HiwmError: The bag cannot be read, or the summary cannot be written.
    """
    with BagReader(bag) as reader:
        try:
            file = SummaryFile(bag)
            try:
                summary = SessionSummary(reader.decode, file.keep)
                for message in reader.serialized(READ_TOPICS):
                    summary.take(*message)
                totals = summary.finish()
                counts = sorted(reader.counts().items())
                totals['counts'] = {name: count for name, count in counts if count}
                file.finish(totals | described(reader.custom_data) | {'remark': remark})
            finally:
                file.abandon()
        except OSError as error:
            raise HiwmError(
                f'the summary of {bag} cannot be written: {error.strerror}',
                ErrorCode.STORAGE_FAULT,
            ) from error


def described(custom_data: dict[str, str]) -> Event:
    """What the bag says of its session, as far as it does."""
    named = ('session', 'task', 'operator_id', 'git_revision', 'hiwm_version')
    models = {
        role: {'path': custom_data[role], 'sha256': custom_data.get(f'{role}_sha256', '')}
        for role in ('world_model', 'policy')
        if custom_data.get(role)
    }
    return {name: custom_data[name] for name in named if custom_data.get(name)} | {'models': models}


def bags_of(session: Path) -> Iterator[Path]:
    """The bags of a session, in the order of their recording."""

    def number(folder: Path) -> int:
        digits = folder.name.removeprefix('bag-')
        return int(digits) if digits.isdigit() else 1

    found = [each for each in session.glob('bag*') if each.is_dir()]
    yield from sorted((each for each in found if _is_bag_name(each.name)), key=number)


def _is_bag_name(name: str) -> bool:
    return name == 'bag' or name.removeprefix('bag-').isdigit()


def plain(value: Any) -> Any:
    """The value as JSON has it: no NaN, no infinity."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value
