# SPDX-License-Identifier: Apache-2.0
"""A column of numbers in blocks."""

from __future__ import annotations

import pytest

from hiwm_core.column import BLOCK, Column


@pytest.fixture
def column() -> Column:
    """Two whole blocks and a part of a third."""
    column = Column('I')
    for value in range(2 * BLOCK + 5):
        column.append(value)
    return column


def test_it_is_what_was_put_in(column: Column) -> None:
    assert len(column) == 2 * BLOCK + 5
    assert list(column) == list(range(2 * BLOCK + 5))
    for place in (0, BLOCK - 1, BLOCK, 2 * BLOCK + 4):
        assert column[place] == place


@pytest.mark.parametrize('place', [-1, 2 * BLOCK + 5, 3 * BLOCK])
def test_there_is_nothing_beyond_its_ends(column: Column, place: int) -> None:
    with pytest.raises(IndexError):
        column[place]
    assert len(Column('I')) == 0


@pytest.mark.parametrize('length', [0, 3, BLOCK])
def test_what_does_not_fit_changes_nothing(length: int) -> None:
    column = Column('I')
    for value in range(length):
        column.append(value)
    for value in (-1, 2**32):
        with pytest.raises(OverflowError):
            column.append(value)
    assert list(column) == list(range(length))
    column.append(4)
    assert column[length] == 4
