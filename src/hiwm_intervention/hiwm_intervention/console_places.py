# SPDX-License-Identifier: Apache-2.0
"""The nodes of a rollout tree as the console knows them, which may be hundreds of thousands.

As objects they cost 400 bytes each; here their branches and takeovers cost, and they nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hiwm_core.action import Source
from hiwm_core.run_table import RunTable

UNKNOWN = 255  # as a source: the node has not been heard of
# A rig numbers its nodes 1, 2, 3, ...; a number so far beyond all that are known is none of them.
FARTHEST = 10_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """What shows a node in its tree; see `hiwm_msgs/msg/TreeNode`."""

    node: int
    parent: int
    step: int
    branch: str
    source: Source = Source.NONE


class Places(Mapping[int, Place]):
    """Places by their nodes, in the nodes' order. A rig numbers its nodes 1, 2, 3, ..."""

    def __init__(self) -> None:
        # parent, step, the branch's number, source
        self._runs = RunTable((1, 1, 0, 0))
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._count = 0

    def put(self, place: Place) -> bool:
        """Take a place in; returns whether anything about it is new."""
        row = place.node - 1
        missing = row - len(self._runs)
        if missing >= FARTHEST:
            return False
        number = self._numbers.get(place.branch)
        if number is None:
            number = self._numbers[place.branch] = len(self._names)
            self._names.append(place.branch)
        values = (place.parent, place.step, number, int(place.source))
        if missing < 0:
            before = self._runs[row]
            if before == values:
                return False
            self._count += before[-1] == UNKNOWN
            self._runs[row] = values
            return True
        if missing:
            self._runs.fill(missing, (0, 0, 0, UNKNOWN))
        self._runs.append(values)
        self._count += 1
        return True

    def stretches(self) -> Iterator[tuple[range, Place]]:
        """All nodes in stretches; see `stretch`."""
        for rows, (parent, step, branch, source) in self._runs.runs():
            if source == UNKNOWN:
                continue
            first = Place(rows.start + 1, parent, step, self._names[branch], Source(source))
            if parent == rows.start:
                yield range(rows.start + 1, rows.stop + 1), first
            else:
                yield from ((range(row + 1, row + 2), self[row + 1]) for row in rows)

    def stretch(self, node: int) -> tuple[range, Place] | None:
        """The nodes from one to another, each the parent of the next, of one branch and source.

        Args:
            node: The last of them.

        Returns:
            The nodes, and the place of the first; None if the node is not known.
        """
        place = self.get(node)
        if place is None:
            return None
        first = node
        if place.parent == node - 1:
            first = self._runs.first(node - 1) + 1
        return range(first, node + 1), self[first]

    def __getitem__(self, node: int) -> Place:
        if not (isinstance(node, int) and 1 <= node <= len(self._runs)):
            raise KeyError(node)
        parent, step, branch, source = self._runs[node - 1]
        if source == UNKNOWN:
            raise KeyError(node)
        return Place(node, parent, step, self._names[branch], Source(source))

    def __iter__(self) -> Iterator[int]:
        for nodes, _ in self.stretches():
            yield from nodes

    def __len__(self) -> int:
        return self._count
