# SPDX-License-Identifier: Apache-2.0
"""Nodes and rows of a rollout tree in columns: a console may know hundreds of thousands of them.

As objects a node costs a console 400 bytes, in columns 38.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
import math
from typing import Any, overload

from hiwm_core.action import Source
from hiwm_core.column import Column
from hiwm_intervention.console_protocol import finite

UNKNOWN = 255  # as a source: the node has not been heard of
# A rig numbers its nodes 1, 2, 3, ...; a number so far beyond all that are known is none of them.
FARTHEST = 10_000_000

DIGITS = 3  # of a progress that a page is told


@dataclass(frozen=True, slots=True)
class Place:
    """A node without its frame; see `hiwm_msgs/msg/TreeNode`."""

    node: int
    parent: int
    step: int
    branch: str
    source: Source = Source.NONE
    progress: float = math.nan


class Places(Mapping[int, Place]):
    """Places by their nodes, in the nodes' order. A rig numbers its nodes 1, 2, 3, ...

    Their progress has the precision of a float32, which is more than anybody is shown.
    """

    def __init__(self) -> None:
        self._parents, self._steps, self._branches = Column('I'), Column('I'), Column('I')
        self._sources, self._progress = Column('B'), Column('f')
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._count = 0

    def put(self, place: Place) -> bool:
        """Take a place in; returns whether anything about it is new."""
        place = replace(place, progress=array('f', [place.progress])[0])
        row = place.node - 1
        missing = row + 1 - len(self._sources)
        if missing > FARTHEST:
            return False
        if missing > 0:
            for column in (self._parents, self._steps, self._branches):
                column.fill(missing, 0)
            self._sources.fill(missing, UNKNOWN)
            self._progress.fill(missing, math.nan)
        known = self._sources[row] != UNKNOWN
        if known and _same(self[place.node], place):
            return False
        number = self._numbers.get(place.branch)
        if number is None:
            number = self._numbers[place.branch] = len(self._names)
            self._names.append(place.branch)
        self._parents[row], self._steps[row] = place.parent, place.step
        self._branches[row], self._sources[row] = number, place.source
        self._progress[row] = place.progress
        self._count += not known
        return True

    def of_source(self, source: Source) -> Iterator[Place]:
        """The places of one source."""
        return (self[row + 1] for row, value in enumerate(self._sources) if value == source)

    def __getitem__(self, node: int) -> Place:
        if node not in self:
            raise KeyError(node)
        row = node - 1
        return Place(
            node,
            self._parents[row],
            self._steps[row],
            self._names[self._branches[row]],
            Source(self._sources[row]),
            self._progress[row],
        )

    def __contains__(self, node: object) -> bool:
        return (
            isinstance(node, int)
            and 1 <= node <= len(self._sources)
            and self._sources[node - 1] != UNKNOWN
        )

    def __iter__(self) -> Iterator[int]:
        return (row + 1 for row, source in enumerate(self._sources) if source != UNKNOWN)

    def __len__(self) -> int:
        return self._count


class Rows(Sequence[list[Any]]):
    """What pages are told of places: node, parent, step, the branch's number, source, progress."""

    def __init__(self) -> None:
        self._whole = [Column('I') for _ in range(4)]
        self._sources, self._progress = Column('B'), Column('f')

    def append(self, row: Sequence[Any]) -> None:
        """Take in one more row; an unknown progress is None."""
        for column, value in zip(self._whole, row[:4], strict=True):
            column.append(value)
        self._sources.append(row[4])
        self._progress.append(math.nan if row[5] is None else row[5])

    @overload
    def __getitem__(self, place: int) -> list[Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[list[Any]]: ...

    def __getitem__(self, place: int | slice) -> list[Any]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        return [
            *(column[place] for column in self._whole),
            self._sources[place],
            finite(self._progress[place], DIGITS),
        ]

    def __len__(self) -> int:
        return len(self._sources)


def _same(one: Place, other: Place) -> bool:
    """Whether two places agree; an unknown progress is like another."""
    alike = one.progress == other.progress or (
        math.isnan(one.progress) and math.isnan(other.progress)
    )
    return alike and (one.parent, one.step, one.branch, one.source) == (
        other.parent,
        other.step,
        other.branch,
        other.source,
    )
