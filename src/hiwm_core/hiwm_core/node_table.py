# SPDX-License-Identifier: Apache-2.0
"""The nodes of a rollout tree, in columns: an hour of full speed makes a hundred thousand of them.

As objects they take 620 bytes each, here 25 and what their branches cost. A node is put together
when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hiwm_core.action import Source
from hiwm_core.column import Column
from hiwm_core.run_table import RunTable
from hiwm_core.tree_node import Node


class NodeTable(Mapping[int, Node]):
    """Nodes by their numbers, which are 1, 2, 3, ... in the order of making."""

    def __init__(self) -> None:
        # parent, step, epoch, the branch's number, source, the journal's record
        self._runs = RunTable((1, 1, 0, 0, 0, 1))
        self._keys, self._progress, self._success = Column('Q'), Column('d'), Column('d')
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}

    def append(self, node: Node, record: int) -> None:
        """Take in the next node, which is a record of the journal.

        Raises:
            ValueError: It is not the next one, or its parent is none of those before.
        """
        if node.id != len(self) + 1:
            raise ValueError(f'node {node.id} follows node {len(self)}')
        if not 0 <= node.parent < node.id:
            raise ValueError(f'node {node.id} has parent {node.parent}, which is not before it')
        try:
            number = self._numbers[node.branch]
        except KeyError:
            number = self._numbers[node.branch] = len(self._names)
            self._names.append(node.branch)
        self._keys.append(node.key)
        self._progress.append(node.progress)
        self._success.append(node.success)
        # Last: it says how many there are, also to a reader in another thread.
        self._runs.append((node.parent, node.step, node.epoch, number, node.source, record))

    def record(self, node_id: int) -> int:
        """The number of the journal's record of a node. Raises KeyError if there is none."""
        return self._runs[self._row(node_id)][-1]

    def __getitem__(self, node_id: int) -> Node:
        row = self._row(node_id)
        parent, step, epoch, branch, source, _ = self._runs[row]
        return Node(
            node_id,
            parent,
            step,
            epoch,
            self._names[branch],
            Source(source),
            self._keys[row],
            self._progress[row],
            self._success[row],
        )

    def __contains__(self, node_id: object) -> bool:
        return isinstance(node_id, int) and 1 <= node_id <= len(self)

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self._runs)

    def _row(self, node_id: int) -> int:
        if node_id not in self:
            raise KeyError(node_id)
        return node_id - 1
