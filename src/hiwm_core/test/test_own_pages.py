# SPDX-License-Identifier: Apache-2.0
"""Arrays in pages of their own: the same values, for as long as anybody has them."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from hiwm_core.own_pages import in_own_pages, page_bytes


def test_a_copy_has_the_values_and_cannot_be_written_to() -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    kept = in_own_pages(values)
    expected = values.copy()
    values[:] = 0
    assert (kept == expected).all()
    assert kept.shape == expected.shape
    assert kept.flags.c_contiguous
    with pytest.raises(ValueError, match='read-only'):
        kept[0, 0, 0] = 1


def test_it_lives_as_long_as_any_part_of_it() -> None:
    values = np.arange(30_000, dtype=np.uint8).reshape(100, 100, 3)
    part = in_own_pages(values)[50:60]
    gc.collect()
    others = [in_own_pages(np.full_like(values, 7)) for _ in range(50)]
    assert (part == values[50:60]).all()
    assert len(others) == 50


def test_nothing_needs_no_page() -> None:
    assert in_own_pages(np.empty((0, 0, 3), np.uint8)).shape == (0, 0, 3)
    assert [page_bytes(size) for size in (0, 1, 4096, 4097)] == [0, 4096, 4096, 8192]
