# SPDX-License-Identifier: Apache-2.0
"""How much each recorded step counts in post-training: known recipes as pure functions.

A step belongs to one class (`step_classes`), and a recipe gives each class a share of the sampling
mass. A share is divided among all steps of its class, so a weight depends on how many steps of each
class the whole training set has: `class_counts` gathers them, in one pass over the episodes, and
`weights` applies them. Weights are scaled so that their mean over all steps that are no EXCLUDED is
1; only their ratios matter to a sampler.

- `uniform`: every step counts the same.
- `iwr`, intervention-weighted regression (Mandlekar et al. 2020): INTERVENTION has 1/2, all others
  together have the other.
- `sirius` (Liu et al. 2023, section IV): DEMO has as much as there are of them; INTERVENTION 1/2,
  or what the demos leave; PRE_INTERVENTION none; ROLLOUT the rest.
- `rac` (Hu et al. 2025): DEMO and the first intervention of an attempt, its recovery and its
  correction alike, and nothing that the policy did. There an intervention ends the attempt, so
  what comes after it has no weight.

A class that is absent leaves its share to the others. In every recipe EXCLUDED steps, the handover
ramp among them, weigh nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.episodes import Episode

PRE_INTERVENTION_STEPS = 15  # Liu et al. 2023: the policy was already wrong before it was stopped


class Weighting(StrEnum):
    """The recipes, by the name that a command takes."""

    UNIFORM = 'uniform'
    IWR = 'iwr'
    SIRIUS = 'sirius'
    RAC = 'rac'


class StepClass(IntEnum):
    """What a step is to a recipe."""

    EXCLUDED = 0  # nobody's choice: the handover ramp, a hold
    DEMO = 1  # of an episode of the kind `demo`
    ROLLOUT = 2  # the policy's own
    PRE_INTERVENTION = 3  # the policy's own, shortly before a person took over
    INTERVENTION = 4  # a person's


def step_classes(episode: Episode, pre_steps: int = PRE_INTERVENTION_STEPS) -> NDArray[np.uint8]:
    """The `StepClass` (T,) of every step of an episode.

    Args:
        pre_steps: How many steps before a takeover are PRE_INTERVENTION.
    """
    sources = episode.sources
    classes = np.full(len(sources), StepClass.EXCLUDED, np.uint8)
    chosen = (sources == Source.POLICY) | (sources == Source.OPERATOR)
    if episode.kind == 'demo':
        classes[chosen] = StepClass.DEMO
        return classes
    human = sources == Source.OPERATOR
    classes[sources == Source.POLICY] = StepClass.ROLLOUT
    for begin in _takeovers(sources):
        before = classes[max(0, begin - pre_steps) : begin]
        before[before == StepClass.ROLLOUT] = StepClass.PRE_INTERVENTION
    classes[human] = StepClass.INTERVENTION
    return classes


def class_counts(
    episodes: Iterable[Episode], pre_steps: int = PRE_INTERVENTION_STEPS
) -> NDArray[np.int64]:
    """Steps of each `StepClass` in all episodes together, int64 (5,)."""
    counts = np.zeros(len(StepClass), np.int64)
    for episode in episodes:
        counts += count_classes(step_classes(episode, pre_steps))
    return counts


def count_classes(classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Steps of each `StepClass` among classes (T,), int64 (5,)."""
    return np.bincount(classes, minlength=len(StepClass))


def class_weights(counts: NDArray[np.int64], scheme: Weighting) -> NDArray[np.float64]:
    """The weight of one step of each `StepClass`, float64 (5,).

    Args:
        counts: Of the whole training set; see `class_counts`.
    """
    shares = _shares(np.where(np.arange(len(counts)) == StepClass.EXCLUDED, 0, counts), scheme)
    total = counts.sum() - counts[StepClass.EXCLUDED]
    return np.divide(shares * total, counts, out=np.zeros(len(counts)), where=counts > 0)


def weights(
    episode: Episode,
    scheme: Weighting | str,
    counts: NDArray[np.int64] | None = None,
    pre_steps: int = PRE_INTERVENTION_STEPS,
) -> NDArray[np.float64]:
    """How much each step of an episode counts, float64 (T,).

    Args:
        counts: Of the whole training set, from `class_counts`; None: the episode is all of it.
        pre_steps: As in `class_counts`.

    Raises:
        ValueError: There is no such recipe.
    """
    scheme = Weighting(scheme)
    classes = step_classes(episode, pre_steps)
    if counts is None:
        counts = count_classes(classes)
    result = class_weights(counts, scheme)[classes]
    if scheme is Weighting.RAC and episode.kind != 'demo':
        result[_end_of_first_intervention(episode.sources) :] = 0.0
    return result


def may_count(episode: Episode, scheme: Weighting) -> NDArray[np.bool_]:
    """Whether a recipe gives a step (T,) any weight, where the training set has every class."""
    return weights(episode, scheme, np.ones(len(StepClass), np.int64)) > 0


def _takeovers(sources: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where a person takes over: the step after the policy's last one.

    The handover ramp and holds until the person's own first step belong to the takeover.
    """
    deciding = np.flatnonzero((sources == Source.POLICY) | (sources == Source.OPERATOR))
    human = sources[deciding] == Source.OPERATOR
    begins = np.flatnonzero(human[1:] & ~human[:-1])
    return deciding[begins] + 1


def _end_of_first_intervention(sources: NDArray[np.uint8]) -> int:
    """The step after the first intervention; T without one."""
    human = np.flatnonzero(sources == Source.OPERATOR)
    if not human.size:
        return len(sources)
    own = np.flatnonzero(sources == Source.POLICY)
    after = own[own > human[0]]
    return int(after[0]) if after.size else len(sources)


def _shares(counts: NDArray[np.int64], scheme: Weighting) -> NDArray[np.float64]:
    """The share of the sampling mass of each class; together 1, or 0 where nothing counts."""
    present = counts.astype(np.float64)
    total = present.sum()
    if not total:
        return present
    if scheme is Weighting.UNIFORM:
        return present / total
    if scheme is Weighting.RAC:
        present[[StepClass.ROLLOUT, StepClass.PRE_INTERVENTION]] = 0.0
        return present / max(present.sum(), 1.0)
    human = present[StepClass.INTERVENTION]
    if scheme is Weighting.IWR:
        rest = total - human
        share = 0.5 if human and rest else float(human > 0)
        shares = present * ((1.0 - share) / rest if rest else 0.0)
        shares[StepClass.INTERVENTION] = share
        return shares
    shares = np.zeros_like(present)
    demos = present[StepClass.DEMO] / total
    left = 1.0 - demos
    shares[StepClass.DEMO] = demos
    shares[StepClass.INTERVENTION] = min(0.5, left) if human else 0.0
    shares[StepClass.ROLLOUT] = (
        left - shares[StepClass.INTERVENTION] if present[StepClass.ROLLOUT] else 0.0
    )
    return shares / max(shares.sum(), np.finfo(np.float64).tiny)
