# SPDX-License-Identifier: Apache-2.0
"""Nodes come back from their runs as they were put in."""

from __future__ import annotations

from dataclasses import replace
import random
import tracemalloc

import pytest

from hiwm_core.action import Source
from hiwm_intervention.console_places import FARTHEST, Place, Places


def test_places_come_back_as_they_were_put_in_any_order() -> None:
    places = Places()
    given = [
        Place(7, 3, 4, 'branch-1', Source.OPERATOR),
        Place(2, 1, 1, 'run-1', Source.POLICY),
        Place(1, 0, 0, 'run-1', Source.NONE),
    ]
    assert all(places.put(place) for place in given)
    assert list(places.values()) == given[::-1]
    assert len(places) == 3
    assert 3 not in places
    assert places.get(3) is places.get(0) is places.get(8) is None
    with pytest.raises(KeyError):
        places[5]


def test_only_what_differs_is_new() -> None:
    places = Places()
    place = Place(1, 0, 0, 'run-1', Source.NONE)
    assert places.put(place)
    assert not places.put(replace(place))
    for other in (
        replace(place, branch='run-2'),
        replace(place, source=Source.HOLD),
        replace(place, step=1),
        replace(place, parent=1),
    ):
        assert places.put(other)
        assert places[1] == other
        assert not places.put(other)
    assert len(places) == 1


def test_a_number_that_no_rig_would_give_takes_no_memory() -> None:
    places = Places()
    assert not places.put(Place(FARTHEST + 1, 1, 1, 'run-1'))
    assert len(places) == 0


def test_a_stretch_ends_where_branch_or_source_or_parent_changes() -> None:
    places = Places()
    policy = [Place(node, node - 1, node - 1, 'run-1', Source.POLICY) for node in (2, 3, 4)]
    person = [Place(node, node - 1, node - 1, 'run-1', Source.OPERATOR) for node in (5, 6)]
    # Both leave run-1, one node after the other: they follow in number, not in time.
    forks = [Place(7, 3, 3, 'branch-1', Source.POLICY), Place(8, 4, 4, 'branch-1', Source.POLICY)]
    for place in (Place(1, 0, 0, 'run-1'), *policy, *person, *forks):
        places.put(place)
    assert [(list(nodes), first.node) for nodes, first in places.stretches()] == [
        ([1], 1),
        ([2, 3, 4], 2),
        ([5, 6], 5),
        ([7], 7),
        ([8], 8),
    ]
    assert places.stretch(3) == (range(2, 4), policy[0])
    assert places.stretch(6) == (range(5, 7), person[0])
    assert places.stretch(8) == (range(8, 9), forks[1])
    assert places.stretch(9) is places.stretch(0) is None


def test_what_is_heard_of_out_of_turn_is_in_order_in_the_end() -> None:
    draw, places = random.Random(3), Places()
    given = [
        Place(node, node - 1, node - 1, f'run-{node // 40}', Source.POLICY)
        for node in range(1, 200)
    ]
    for place in draw.sample(given, len(given)):
        assert places.put(place)
        assert not places.put(place)
        assert places[place.node] == place
    assert list(places.values()) == given
    assert len(list(places.stretches())) == 5


def test_known_nodes_cost_next_to_nothing() -> None:
    places, count = Places(), 20_000
    tracemalloc.start()
    for node in range(1, count + 1):
        places.put(Place(node, node - 1, node, f'run-{node // 200}', Source.POLICY))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size / count < 5
