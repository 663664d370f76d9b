# SPDX-License-Identifier: Apache-2.0
"""An entry of a YAML file that knows where it stands, so that an error can say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import math
from typing import Any

from hiwm_core.error import ConfigurationError


class Entry:
    """A mapping from YAML, read key by key with a check of every kind.

    Args:
        data: What YAML gave; must be a mapping.
        source: The file, named first in errors.
        path: Where in the file, such as 'actions[1]'; empty at the top.

    Every reader raises ConfigurationError if the key is missing or of another kind.
    """

    def __init__(self, data: Any, source: str, path: str = '') -> None:
        self._source = source
        self._path = path
        self._read: set[str] = set()
        if not isinstance(data, Mapping):
            raise self.refusal('', 'must be a mapping of names to values')
        self._data = data

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def refusal(self, key: str, sentence: str) -> ConfigurationError:
        """The error that names the file, this entry and the key."""
        place = '.'.join(part for part in (self._path, key) if part)
        return ConfigurationError(f'{self._source}: {place or "the file"} {sentence}')

    def text(self, key: str) -> str:
        """Text that is not empty."""
        return self._text(self._get(key), key)

    def number(self, key: str) -> float:
        """A finite number."""
        return self._number(self._get(key), key)

    def integer(self, key: str) -> int:
        """A whole number."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refusal(key, f'must be a whole number, not {value!r}')
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is left out."""
        self._read.add(key)
        value = self._data.get(key, False)
        if not isinstance(value, bool):
            raise self.refusal(key, f'must be true or false, not {value!r}')
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one text."""
        values = tuple(self._text(value, key) for value in self._list(self._get(key), key))
        if not values:
            raise self.refusal(key, 'needs at least one name')
        return values

    def range(self, key: str) -> tuple[float, float]:
        """Two numbers, the first not larger than the second."""
        numbers = self._numbers(self._get(key), key)
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            raise self.refusal(key, f'must be [low, high] with low <= high, not {list(numbers)}')
        return (numbers[0], numbers[1])

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers."""
        return self._numbers(self._get(key), key)

    def points(self, key: str) -> tuple[tuple[float, ...], ...]:
        """A list of lists of numbers."""
        return tuple(self._numbers(point, key) for point in self._list(self._get(key), key))

    def entry(self, key: str) -> Entry:
        """A mapping inside this one."""
        return Entry(self._get(key), self._source, self._below(key))

    def entries(self, key: str) -> list[Entry]:
        """A list of mappings."""
        return [
            Entry(value, self._source, f'{self._below(key)}[{number}]')
            for number, value in enumerate(self._list(self._get(key), key))
        ]

    def names(self) -> list[str]:
        """Every key, in the file's order."""
        return [self._text(key, str(key)) for key in self._data]

    def finish(self) -> None:
        """Raises ConfigurationError if there is a key that nobody read, most likely misspelt."""
        unknown = [str(key) for key in self._data if key not in self._read]
        if unknown:
            raise self.refusal('', f'has an unknown entry {unknown[0]!r}')

    def _get(self, key: str) -> Any:
        self._read.add(key)
        if key not in self._data:
            raise self.refusal('', f'lacks the entry {key!r}')
        return self._data[key]

    def _below(self, key: str) -> str:
        return f'{self._path}.{key}' if self._path else key

    def _list(self, value: Any, key: str) -> Sequence[Any]:
        if not isinstance(value, list):
            raise self.refusal(key, f'must be a list, not {value!r}')
        return value

    def _text(self, value: Any, key: str) -> str:
        if not isinstance(value, str) or not value:
            raise self.refusal(key, f'must be text, not {value!r}')
        return value

    def _number(self, value: Any, key: str) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.refusal(key, f'must be a finite number, not {value!r}')
        return float(value)

    def _numbers(self, value: Any, key: str) -> tuple[float, ...]:
        return tuple(self._number(number, key) for number in self._list(value, key))
