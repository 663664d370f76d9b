# SPDX-License-Identifier: Apache-2.0
"""Which recorded steps are learned from.

A step is kept if it passes every filter of the table FILTERS, in its order; what is removed counts
for the filter that removed it, so that an empty selection can say why. Branches share their
beginnings with the attempts that they left: a step that was kept with one of them is not kept again
with another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.episodes import Episode
from hiwm_core.error import ConfigurationError
from hiwm_core.tree_node import Label

Mask = NDArray[np.bool_]

SHARED = 'had been taken with another branch'


@dataclass(frozen=True)
class Wanted:
    """What is wanted.

    Attributes:
        labels: Judgements of an episode.
        successful: Only episodes that succeeded: by their label, else by the task's criterion.
        untouched: Only episodes in which no operator chose an action.
        sources: Who chose the action. HANDOVER never trains, whatever stands here.
        phases: MuxState.PHASE_*; empty: all, also unknown ones.
        least_fidelity: Of every frame from an episode's beginning to the step, 0 to 1: what a world
            model shows after it has failed is no longer the consequence of what was done. Frames
            whose fidelity is unknown pass.
    """

    labels: frozenset[Label] = frozenset({Label.NONE, Label.SUCCESS, Label.FAILURE})
    successful: bool = False
    untouched: bool = False
    sources: frozenset[Source] = frozenset({Source.POLICY, Source.OPERATOR})
    phases: frozenset[int] = frozenset()
    least_fidelity: float = 0.0


def _handover(episode: Episode, wanted: Wanted) -> Mask:
    return episode.sources != Source.HANDOVER


def _label(episode: Episode, wanted: Wanted) -> Mask:
    return np.full(episode.steps, episode.label in wanted.labels)


def _success(episode: Episode, wanted: Wanted) -> Mask:
    return np.full(episode.steps, episode.success or not wanted.successful)


def _untouched(episode: Episode, wanted: Wanted) -> Mask:
    driven = bool((episode.sources == Source.OPERATOR).any())
    return np.full(episode.steps, not (wanted.untouched and driven))


def _source(episode: Episode, wanted: Wanted) -> Mask:
    return np.isin(episode.sources, [int(source) for source in wanted.sources])


def _phase(episode: Episode, wanted: Wanted) -> Mask:
    if not wanted.phases:
        return np.full(episode.steps, True)
    return np.isin(episode.phases, sorted(wanted.phases))


def _fidelity(episode: Episode, wanted: Wanted) -> Mask:
    lowest = np.fmin.accumulate(np.nan_to_num(episode.fidelity[:-1], nan=1.0))
    return lowest >= wanted.least_fidelity


# What is said of the steps that a filter removed, and the steps that pass it.
FILTERS: tuple[tuple[str, Callable[[Episode, Wanted], Mask]], ...] = (
    ('are of the handover ramp', _handover),
    ('belong to a branch with another label', _label),
    ('belong to an episode that did not succeed', _success),
    ('belong to an episode that an operator corrected', _untouched),
    ('were chosen by another source', _source),
    ('were made in another phase', _phase),
    ('come after a frame of too low a fidelity', _fidelity),
)


def corrected_first(episodes: Iterable[Episode]) -> Iterator[list[Episode]]:
    """The episodes of each session, those first in which an operator drove most.

    So steps that branches share are taken with the correction that followed, not with the failure.
    """
    for _, session in groupby(episodes, key=lambda episode: episode.session):
        yield sorted(session, key=_driven, reverse=True)


def _driven(episode: Episode) -> int:
    return int((episode.sources == Source.OPERATOR).sum())


class Selection:
    """Chooses steps, episode by episode.

    Args:
        wanted: What is wanted.

    Attributes:
        episodes: Looked at so far.
        steps: Looked at so far; a step that several branches share counts in each.
        kept: Of these.
        removed: How many each filter removed, by what is said of them.
    """

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.episodes = self.steps = self.kept = 0
        self.removed: Counter[str] = Counter()
        self._session = ''
        self._taken: set[tuple[int, int]] = set()

    def take(self, episode: Episode) -> Mask:
        """Which steps (T,) of an episode are kept. Episodes of one session come together."""
        if episode.session != self._session:
            self._session, self._taken = episode.session, set()
        left = np.full(episode.steps, True)
        for said, passes in FILTERS:
            self._remove(left, passes(episode, self.wanted), said)
        # Two sessions may have one name; they do not have one time.
        nodes = list(zip(episode.nodes[1:].tolist(), episode.stamps[1:].tolist(), strict=True))
        self._remove(left, np.array([node not in self._taken for node in nodes], bool), SHARED)
        self._taken.update(node for node, kept in zip(nodes, left, strict=True) if kept)
        self.episodes += 1
        self.steps += episode.steps
        self.kept += int(left.sum())
        return left

    def _remove(self, left: Mask, passing: Mask, said: str) -> None:
        removed = int((left & ~passing).sum())
        if removed:
            self.removed[said] += removed
        left &= passing

    def check(self, where: str) -> None:
        """Raises ConfigurationError if nothing was kept; `where` names what was looked through."""
        if self.kept:
            return
        if not self.steps:
            raise ConfigurationError(f'{where} holds no step')
        why = ', '.join(f'{count} {said}' for said, count in self.removed.most_common())
        raise ConfigurationError(f'of the {self.steps} steps in {where} none is left: {why}')


def selected(episodes: Iterable[Episode], selection: Selection) -> Iterator[tuple[Episode, Mask]]:
    """Episodes of which a step is kept, with the steps (T,) that are."""
    for episode in episodes:
        kept = selection.take(episode)
        if kept.any():
            yield episode, kept
