# SPDX-License-Identifier: Apache-2.0
"""A tree's nodes in columns: as they were, one after the other, at little cost."""

from __future__ import annotations

from dataclasses import replace
import math
import tracemalloc

import pytest

from hiwm_core.action import Source
from hiwm_core.node_table import NodeTable
from hiwm_core.tree_node import Node

ROOT = Node(1, 0, 0, 1, 'run-1', Source.NONE, 2**64 - 1, math.nan, 1.0 / 3.0)


def test_nodes_come_back_as_they_were() -> None:
    table = NodeTable()
    child = Node(2, 1, 1, 1, 'branch-1', Source.OPERATOR, 5, 1e-320, -0.0)
    table.append(ROOT, 3)
    table.append(child, 9)
    assert [repr(node) for node in table.values()] == [repr(ROOT), repr(child)]
    assert [table.record(node) for node in table] == [3, 9]
    assert (len(table), list(table), 2 in table, 0 in table, 3 in table) == (
        2,
        [1, 2],
        True,
        False,
        False,
    )
    assert table.get(3) is None
    for missing in (0, 3, -1):
        with pytest.raises(KeyError):
            table[missing]


@pytest.mark.parametrize(
    'wrong', [{'id': 3}, {'id': 1}, {'id': 2, 'parent': 2}, {'id': 2, 'parent': -1}]
)
def test_what_cannot_follow_changes_nothing(wrong: dict[str, int]) -> None:
    table = NodeTable()
    table.append(ROOT, 1)
    with pytest.raises(ValueError, match='node'):
        table.append(replace(ROOT, **wrong), 2)
    assert len(table) == 1
    table.append(replace(ROOT, id=2, parent=1), 2)
    assert table[2].parent == 1


def test_a_node_costs_less_than_forty_bytes() -> None:
    table, count = NodeTable(), 20_000
    tracemalloc.start()
    for number in range(1, count + 1):
        table.append(replace(ROOT, id=number, parent=number - 1, step=number), number)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / count < 40
