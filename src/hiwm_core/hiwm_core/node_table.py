# SPDX-License-Identifier: Apache-2.0
"""The nodes of a rollout tree, in columns: an hour of full speed makes a hundred thousand of them.

As objects they take 620 bytes each, in columns 45. A node is put together when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hiwm_core.action import Source
from hiwm_core.column import Column
from hiwm_core.tree_node import Node


class NodeTable(Mapping[int, Node]):
    """Nodes by their numbers, which are 1, 2, 3, ... in the order of making."""

    def __init__(self) -> None:
        self._parents, self._steps, self._epochs = Column('I'), Column('I'), Column('I')
        self._branches, self._sources, self._keys = Column('I'), Column('B'), Column('Q')
        self._progress, self._success = Column('d'), Column('d')
        self._records = Column('I')
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def append(self, node: Node, record: int) -> None:
        """Take in the next node, which is a record of the journal.

        Raises:
            ValueError: It is not the next one, or a number of it is too large.
        """
        if node.id != len(self) + 1:
            raise ValueError(f'node {node.id} follows node {len(self)}')
        try:
            number = self._numbers[node.branch]
        except KeyError:
            number = self._numbers[node.branch] = len(self._names)
            self._names.append(node.branch)
        columns = (self._parents, self._steps, self._epochs, self._branches, self._records)
        values = (node.parent, node.step, node.epoch, number, record)
        try:
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        except OverflowError as error:
            for column in columns:
                column.cut(node.id - 1)
            raise ValueError(f'node {node.id} has too large a number') from error
        self._sources.append(node.source)
        self._keys.append(node.key)
        self._progress.append(node.progress)
        self._success.append(node.success)

    def record(self, node_id: int) -> int:
        """The number of the journal's record of a node. Raises KeyError if there is none."""
        return self._records[self._row(node_id)]

    def __getitem__(self, node_id: int) -> Node:
        row = self._row(node_id)
        return Node(
            node_id,
            self._parents[row],
            self._steps[row],
            self._epochs[row],
            self._names[self._branches[row]],
            Source(self._sources[row]),
            self._keys[row],
            self._progress[row],
            self._success[row],
        )

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, int) and 1 <= node_id <= len(self)

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self._parents)

    def _row(self, node_id: int) -> int:
        if node_id not in self:
            raise KeyError(node_id)
        return node_id - 1
