# SPDX-License-Identifier: Apache-2.0
"""Rows of whole numbers, of which nearly each follows from the one before, in runs.

What names the nodes of a rollout tree is of this kind: along a branch the parent and the step grow
by one from node to node, branch and source stay. Only where that breaks is something kept, so a
hundred thousand nodes cost what their branches and takeovers cost.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence


class RunTable:
    """Rows by their places 0, 1, 2, ...

    One thread may append while others read.

    Args:
        slopes: By how much each number of a row grows from place to place within a run.
    """

    def __init__(self, slopes: Sequence[int]) -> None:
        self._slopes = tuple(slopes)
        self._starts = array('q')
        # What each number of a run would be at place 0.
        self._offsets = [array('q') for _ in slopes]
        self._length = 0

    def append(self, row: Sequence[int]) -> None:
        """Take in one more; OverflowError beyond 63 bits changes nothing."""
        self.fill(1, row)

    def fill(self, count: int, row: Sequence[int]) -> None:
        """Take in a row and so many rows less one that follow from it."""
        offsets = self._coded(self._length, row)
        if not self._starts or not self._is(len(self._starts) - 1, offsets):
            # The start last: who reads in between finds whole runs alone.
            for column, offset in zip(self._offsets, offsets, strict=True):
                column.append(offset)
            self._starts.append(self._length)
        self._length += count

    def runs(self) -> Iterator[tuple[range, tuple[int, ...]]]:
        """The places of each run, with the row at the first of them."""
        for run, first in enumerate(self._starts):
            yield range(first, self._end(run)), self._row(run, first)

    def first(self, place: int) -> int:
        """The first place of the run that a place is in. Raises IndexError if there is none."""
        return self._starts[self._run(place)]

    def __getitem__(self, place: int) -> tuple[int, ...]:
        """Raises IndexError if there is none; places are not counted from the end."""
        return self._row(self._run(place), place)

    def __setitem__(self, place: int, row: Sequence[int]) -> None:
        run, offsets = self._run(place), self._coded(place, row)
        if self._is(run, offsets):
            return
        begin, end = max(run - 1, 0), min(run + 2, len(self._starts))
        near = [(self._starts[each], self._offsets_of(each)) for each in range(begin, end)]
        own, after = near[run - begin], near[run - begin + 1 :]
        near[run - begin :] = [own] if own[0] < place else []
        near.append((place, offsets))
        if place + 1 < self._end(run):
            near.append((place + 1, own[1]))
        # Neighbours that have become equal are one run.
        runs: list[tuple[int, array[int]]] = []
        for start, each in near + after:
            if not runs or runs[-1][1] != each:
                runs.append((start, each))
        self._starts[begin:end] = array('q', [start for start, _ in runs])
        for number, column in enumerate(self._offsets):
            column[begin:end] = array('q', [each[number] for _, each in runs])

    def __len__(self) -> int:
        return self._length

    def _coded(self, place: int, row: Sequence[int]) -> array[int]:
        pairs = zip(row, self._slopes, strict=True)
        return array('q', [value - slope * place for value, slope in pairs])

    def _run(self, place: int) -> int:
        if not 0 <= place < self._length:
            raise IndexError(place)
        return bisect_right(self._starts, place) - 1

    def _end(self, run: int) -> int:
        return self._starts[run + 1] if run + 1 < len(self._starts) else self._length

    def _row(self, run: int, place: int) -> tuple[int, ...]:
        columns = zip(self._offsets, self._slopes, strict=True)
        return tuple([column[run] + slope * place for column, slope in columns])

    def _offsets_of(self, run: int) -> array[int]:
        return array('q', [column[run] for column in self._offsets])

    def _is(self, run: int, offsets: array[int]) -> bool:
        return self._offsets_of(run) == offsets
