# SPDX-License-Identifier: Apache-2.0
"""A column of numbers that grows for hours and is never moved.

An `array` that grows is copied to a larger place again and again. In a process that lives for hours
the large places that it has left stay behind as holes. Here the numbers lie in blocks of some
kilobytes, and what is small is used again.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
import itertools
from typing import Any

BLOCK_BITS = 12
BLOCK = 1 << BLOCK_BITS


class Column:
    """Numbers by their places 0, 1, 2, ...

    Args:
        code: Their type, as of `array`.
    """

    def __init__(self, code: str) -> None:
        self._code = code
        self._blocks: list[array[Any]] = []

    def append(self, value: float) -> None:
        """Take in one more. Raises OverflowError if it does not fit the type; nothing changes."""
        blocks = self._blocks
        if not blocks or len(blocks[-1]) == BLOCK:
            blocks.append(array(self._code, [value]))
        else:
            blocks[-1].append(value)

    def __getitem__(self, place: int) -> Any:
        """Raises IndexError if there is none; places are not counted from the end."""
        if place < 0:
            raise IndexError(place)
        return self._blocks[place >> BLOCK_BITS][place & (BLOCK - 1)]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._blocks)

    def __len__(self) -> int:
        return BLOCK * (len(self._blocks) - 1) + len(self._blocks[-1]) if self._blocks else 0
