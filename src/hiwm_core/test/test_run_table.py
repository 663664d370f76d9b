# SPDX-License-Identifier: Apache-2.0
"""Rows in runs are what they would be in a list, whatever is done to them."""

from __future__ import annotations

from itertools import pairwise
import random

import pytest

from hiwm_core.run_table import RunTable


def follow(row: tuple[int, ...], slopes: tuple[int, ...], steps: int) -> tuple[int, ...]:
    """What a row becomes so many places further on."""
    return tuple(value + slope * steps for value, slope in zip(row, slopes, strict=True))


@pytest.mark.parametrize('seed', range(20))
def test_it_is_a_list_of_rows(seed: int) -> None:
    draw, slopes = random.Random(seed), (1, 0)
    table, rows = RunTable(slopes), []
    for _ in range(400):
        row = (draw.randint(-2, 2) + len(rows), draw.randint(0, 1))
        match draw.choice(['append', 'set', 'set', 'copy', 'fill']):
            case 'append':
                table.append(row)
                rows.append(row)
            case 'fill':
                count = draw.randint(1, 4)
                table.fill(count, row)
                rows += [follow(row, slopes, step) for step in range(count)]
            case 'set' if rows:
                place = draw.randrange(len(rows))
                table[place] = rows[place] = row
            case 'copy' if len(rows) > 1:
                # As its neighbour would go on: runs have to melt together.
                place = draw.randrange(len(rows) - 1)
                table[place + 1] = rows[place + 1] = follow(rows[place], slopes, 1)
        assert [table[place] for place in range(len(rows))] == rows
        assert len(table) == len(rows)
    whole = [
        follow(row, slopes, step) for places, row in table.runs() for step in range(len(places))
    ]
    assert whole == rows
    assert [place for places, _ in table.runs() for place in places] == list(range(len(rows)))
    fewest = 1 + sum(follow(one, slopes, 1) != other for one, other in pairwise(rows))
    assert len(list(table.runs())) == fewest


def test_a_row_that_does_not_fit_changes_nothing() -> None:
    table = RunTable((1, 1))
    table.append((0, 5))
    for row in ((2**63 + 1, 0), (0, -(2**70))):
        with pytest.raises(OverflowError):
            table.append(row)
        with pytest.raises(OverflowError):
            table[0] = row
    with pytest.raises(ValueError, match='zip'):
        table.append((1, 2, 3))
    assert [table[place] for place in range(len(table))] == [(0, 5)]


@pytest.mark.parametrize('place', [-1, 1, 7])
def test_there_is_nothing_beyond_its_ends(place: int) -> None:
    table = RunTable((0,))
    table.append((4,))
    with pytest.raises(IndexError):
        table[place]
    with pytest.raises(IndexError):
        table[place] = (1,)
