# SPDX-License-Identifier: Apache-2.0
"""Hard starts: seeds of a task that are worth trying again, in a file beside the sessions.

`<record_dir>/hard_starts.<task>.yaml` is a list of `{seed: 17, note: behind the block}`. It belongs
to the person: the console adds at the end and removes by seed, and keeps what it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hiwm_core.error import ErrorCode, HiwmError

MOST_STARTS = 1000


class HardStarts:
    """The list of one task.

    Args:
        record_dir: The folder of all sessions; empty: the list lasts as long as the console.
        task: The task's name.

    Raises:
        HiwmError: The file is there and cannot be read.
    """

    def __init__(self, record_dir: str, task: str) -> None:
        folder = Path(record_dir).expanduser() if record_dir else None
        self._path = folder / f'hard_starts.{task}.yaml' if folder else None
        self._entries: list[dict[str, Any]] = self._read()

    def add(self, seed: int, note: str) -> None:
        """Remember a start, or give it another note. Raises HiwmError (STORAGE_FAULT)."""
        entries = [dict(entry) for entry in self._entries]
        for entry in entries:
            if entry['seed'] == seed:
                entry['note'] = note or entry.get('note', '')
                break
        else:
            if len(entries) >= MOST_STARTS:
                raise HiwmError(f'there are {MOST_STARTS} hard starts; forget some first')
            entries.append({'seed': seed, 'note': note})
        self._write(entries)

    def remove(self, seed: int) -> None:
        """Forget a start. Raises HiwmError."""
        entries = [entry for entry in self._entries if entry['seed'] != seed]
        if len(entries) == len(self._entries):
            raise HiwmError(f'start {seed} is not in the list')
        self._write(entries)

    def tell(self) -> list[dict[str, Any]]:
        """For the page, in the order of adding."""
        return [
            {'seed': entry['seed'], 'note': str(entry.get('note') or '')} for entry in self._entries
        ]

    def _read(self) -> list[dict[str, Any]]:
        if self._path is None or not self._path.exists():
            return []
        try:
            data = yaml.safe_load(self._path.read_text(encoding='utf-8')) or []
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = str(error).splitlines()[0]
            raise HiwmError(f'{self._path} cannot be read: {reason}') from error
        right = isinstance(data, list) and all(
            isinstance(entry, dict) and type(entry.get('seed')) is int and entry['seed'] >= 0
            for entry in data
        )
        if not right:
            raise HiwmError(
                f'{self._path} must be a list of entries with a `seed`, a whole number from 0 on'
            )
        return data

    def _write(self, entries: list[dict[str, Any]]) -> None:
        if self._path is not None:
            rough = self._path.with_suffix('.tmp')
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                rough.write_text(yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))
                rough.replace(self._path)
            except OSError as error:
                raise HiwmError(
                    f'{self._path} cannot be written: {error.strerror}', ErrorCode.STORAGE_FAULT
                ) from error
        self._entries = entries
