# SPDX-License-Identifier: Apache-2.0
"""Nodes and rows in columns are what they were as objects."""

from __future__ import annotations

from dataclasses import replace
import math

import pytest

from hiwm_core.action import Source
from hiwm_intervention.console_places import FARTHEST, Place, Places, Rows


def test_places_come_back_as_they_were_put_in_any_order() -> None:
    places = Places()
    given = [
        Place(7, 3, 4, 'branch-1', Source.OPERATOR, 0.375),
        Place(2, 1, 1, 'run-1', Source.POLICY, 0.0),
        Place(1, 0, 0, 'run-1', Source.NONE, -2.5),
    ]
    assert all(places.put(place) for place in given)
    assert list(places.values()) == given[::-1]
    assert len(places) == 3
    assert 3 not in places
    assert places.get(3) is places.get(0) is places.get(8) is None
    with pytest.raises(KeyError):
        places[5]
    assert list(places.of_source(Source.OPERATOR)) == given[:1]


@pytest.mark.parametrize('progress', [1.0 / 3.0, 1e-320, 1e300, math.inf])
def test_a_progress_is_kept_as_well_as_anybody_is_shown_and_is_no_news(progress: float) -> None:
    places, place = Places(), Place(1, 0, 0, 'run-1', Source.NONE, progress)
    assert places.put(place)
    assert places[1].progress == pytest.approx(progress, rel=1e-6, abs=1e-6) or progress > 1e38
    assert not places.put(place)


def test_only_what_differs_is_new() -> None:
    places = Places()
    place = Place(1, 0, 0, 'run-1', Source.NONE, math.nan)
    assert places.put(place)
    assert not places.put(replace(place, progress=float('nan')))
    for other in (
        replace(place, progress=0.5),
        replace(place, branch='run-2'),
        replace(place, source=Source.HOLD),
        replace(place, step=1),
        replace(place, parent=1),
    ):
        assert places.put(other)
        assert places[1] == other or math.isnan(other.progress)
        assert not places.put(other)
    assert len(places) == 1


def test_a_number_that_no_rig_would_give_takes_no_memory() -> None:
    places = Places()
    assert not places.put(Place(FARTHEST + 1, 1, 1, 'run-1'))
    assert len(places) == 0


def test_rows_are_told_as_they_were_taken() -> None:
    rows, given = Rows(), [[1, 0, 0, 0, 0, None], [2, 1, 1, 0, 1, 0.143], [9, 2, 2, 3, 3, 1.0]]
    for row in given:
        rows.append(row)
    assert rows[:] == given
    assert rows[1:2] == [given[1]]
    assert rows[2] == given[2]
    assert len(rows) == 3
