# SPDX-License-Identifier: Apache-2.0
"""Comparisons against values that were worked out by hand or are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hiwm_policy.statistics import (
    Estimate,
    mcnemar,
    mean_rank_violation,
    over_points,
    paired_gain,
    pearson,
    ranks,
    spearman,
)


def test_mcnemar_is_the_binomial_test_of_what_changed() -> None:
    before = np.array([0.0] * 8 + [1.0] * 2 + [1.0] * 5)
    after = np.array([1.0] * 8 + [0.0] * 2 + [1.0] * 5)
    # 8 won, 2 lost: 2 * (1 + 10 + 45) / 1024.
    assert mcnemar(before, after) == pytest.approx(2 * 56 / 1024)
    assert mcnemar(before, before) == 1.0
    assert mcnemar(after, before) == mcnemar(before, after)
    lost, won = np.zeros(1100), np.ones(1100)
    assert mcnemar(np.append(lost, won), np.append(won, lost)) == 1.0


def test_a_paired_gain_is_surer_than_two_separate_rates() -> None:
    draw = np.random.default_rng(1)
    before = (draw.random(200) < 0.5).astype(float)
    after = np.maximum(before, draw.random(200) < 0.2)
    gain = paired_gain([(before, after)])
    assert gain.value == pytest.approx(after.mean() - before.mean())
    assert gain.low < gain.value < gain.high
    assert gain.high - gain.low < 2 * 1.96 * math.sqrt(2 * 0.25 / 200)
    assert paired_gain([(before, after)]) == gain, 'it is seeded'
    both = paired_gain([(before, after), (before, before)])
    assert both.value == pytest.approx(gain.value / 2)


def test_correlations_of_known_points() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert pearson(x, 3 * x + 1) == pytest.approx(1.0)
    assert pearson(x, np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(0.8)
    assert spearman(x, np.exp(x)) == pytest.approx(1.0)
    assert math.isnan(pearson(x, np.ones(4)))
    assert ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [1.5, 0.0, 1.5, 3.0]


def test_mmrv_is_what_a_wrong_order_costs() -> None:
    real = np.array([0.1, 0.5, 0.9])
    assert mean_rank_violation(np.array([0.2, 0.3, 0.4]), real) == 0.0
    # The last two are swapped: each of them has a violation of 0.4, the first none.
    assert mean_rank_violation(np.array([0.2, 0.4, 0.3]), real) == pytest.approx(0.8 / 3)


def test_intervals_over_points_hold_the_value_and_narrow_with_the_starts() -> None:
    draw = np.random.default_rng(0)
    rates = np.linspace(0.1, 0.9, 12)

    def outcomes(count: int) -> list[np.ndarray]:
        return [(draw.random(count) < rate).astype(float) for rate in rates]

    for shared in (False, True):
        few, many = (
            over_points(pearson, outcomes(count), outcomes(count), shared_starts=shared, draws=300)
            for count in (20, 2000)
        )
        check(few, many)


def check(few: Estimate, many: Estimate) -> None:
    assert few.low <= few.value <= few.high <= 1.0
    assert many.high - many.low < few.high - few.low
    assert many.value > 0.99


def test_an_interval_of_equal_outcomes_holds_their_perfect_agreement() -> None:
    """The starts are shared, so resampling them moves both rigs alike."""
    draw = np.random.default_rng(0)
    outcomes = [(draw.random(200) < rate).astype(float) for rate in np.linspace(0.2, 0.9, 12)]
    for statistic, perfect in ((pearson, 1.0), (spearman, 1.0), (mean_rank_violation, 0.0)):
        found = over_points(statistic, outcomes, outcomes, shared_starts=True, draws=200)
        assert found.low == pytest.approx(perfect)
        assert found.value == pytest.approx(perfect)
        assert found.high == pytest.approx(perfect)
