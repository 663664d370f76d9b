# SPDX-License-Identifier: Apache-2.0
"""How sure a comparison is: paired differences, and how well one rig predicts another.

Policies are compared on the same starts, so differences are taken start by start. Intervals are
95 % percentile intervals of a seeded bootstrap (Efron & Tibshirani 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

DRAWS = 10_000
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


def paired_gain(pairs: Sequence[tuple[FloatArray, FloatArray]], seed: int = 0) -> Estimate:
    """The mean over pairs of policies of the gain of the second over the first.

    Args:
        pairs: Success (n,) of both policies of a pair on the same n starts; n is the same in all
            pairs, which share their starts and are resampled together.
    """
    gains = np.mean([after - before for before, after in pairs], axis=0)
    rows = np.random.default_rng(seed).integers(len(gains), size=(DRAWS, len(gains)))
    low, high = np.percentile(gains[rows].mean(1), INTERVAL)
    return Estimate(float(gains.mean()), float(low), float(high))


def mcnemar(before: FloatArray, after: FloatArray) -> float:
    """The exact two-sided p-value (McNemar 1947) that both succeed equally often.

    Args:
        before: Success (n,) of the one, 0 or 1.
        after: Of the other, on the same starts.
    """
    won = int(((after > 0.5) & (before <= 0.5)).sum())
    lost = int(((after <= 0.5) & (before > 0.5)).sum())
    count = won + lost
    # Whole numbers up to here: 2.0**count is too large for a float where 1024 starts changed.
    tail = sum(math.comb(count, number) for number in range(min(won, lost) + 1)) / 2**count
    return min(1.0, 2.0 * tail)


def pearson(x: FloatArray, y: FloatArray) -> float:
    """Pearson's r of points (n,); NaN where one of them does not vary."""
    x, y = x - x.mean(), y - y.mean()
    scale = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0.0 else math.nan


def spearman(x: FloatArray, y: FloatArray) -> float:
    """Spearman's rank correlation of points (n,), ties at their mean rank."""
    return pearson(ranks(x), ranks(y))


def ranks(values: FloatArray) -> FloatArray:
    """Ranks (n,) from 0; equal values get their mean rank."""
    below = (values[:, None] > values).sum(1)
    equal = (values[:, None] == values).sum(1)
    result: FloatArray = below + (equal - 1) / 2.0
    return result


def mean_rank_violation(predicted: FloatArray, real: FloatArray) -> float:
    """MMRV of n policies: how much real success a wrong order can cost (Li et al. 2024, SIMPLER).

    For each policy the largest difference of real success to a policy that the prediction puts on
    the other side of it, and the mean of these.
    """
    wrong = (predicted[:, None] < predicted) != (real[:, None] < real)
    return float((np.abs(real[:, None] - real) * wrong).max(1).mean())


def over_points(
    statistic: Callable[[FloatArray, FloatArray], float],
    x: Sequence[FloatArray],
    y: Sequence[FloatArray],
    *,
    shared_starts: bool,
    seed: int = 0,
    draws: int = 2000,
) -> Estimate:
    """A statistic of the mean outcomes of n policies on two rigs, with its interval.

    Both which policies there are and which starts they met are resampled. Where all met the same
    starts on both rigs, one draw of starts serves all; else each outcome has a draw of its own.

    Args:
        x: For each policy its outcomes on the one rig, 0 or 1 for each start.
        y: On the other.
        shared_starts: Whether all are of the same starts, in the same order.
    """
    value = statistic(_means(x), _means(y))
    draw = np.random.default_rng(seed)
    again = _drawn_together if shared_starts else _drawn_apart
    found = []
    for _ in range(draws):
        chosen = draw.integers(len(x), size=len(x))
        result = statistic(*again(draw, [x[at] for at in chosen], [y[at] for at in chosen]))
        if math.isfinite(result):
            found.append(result)
    if not found:
        return Estimate(value, math.nan, math.nan)
    low, high = np.percentile(found, INTERVAL)
    return Estimate(value, float(low), float(high))


def _means(outcomes: Sequence[FloatArray]) -> FloatArray:
    return np.array([each.mean() for each in outcomes])


def _drawn_together(
    draw: np.random.Generator, x: Sequence[FloatArray], y: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    starts = draw.integers(len(x[0]), size=len(x[0]))
    return np.stack(x)[:, starts].mean(1), np.stack(y)[:, starts].mean(1)


def _drawn_apart(
    draw: np.random.Generator, x: Sequence[FloatArray], y: Sequence[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    # Outcomes are 0 or 1: so many drawn with replacement are a binomial number.
    counts = np.array([len(each) for each in (*x, *y)])
    rates = draw.binomial(counts, _means([*x, *y])) / counts
    return rates[: len(x)], rates[len(x) :]
