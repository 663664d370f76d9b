# SPDX-License-Identifier: Apache-2.0
"""Pairs of branches that left one another: one succeeded, the other did not.

Up to the fork both have the same frames, so at the last frames that they share the same was seen,
and two chunks are known: one that led to a success, one that did not. A person's label decides
which is which; without one, the task's criterion. Branches to be discarded belong to no pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.alignment import history_rows
from hiwm_core.episodes import Episode
from hiwm_core.task import Task
from hiwm_core.tree_node import Label
from hiwm_policy.dataset import Frames, Windows, join_episodes
from hiwm_policy.size import Size

CHOSEN = (int(Source.POLICY), int(Source.OPERATOR))


@dataclass(frozen=True, eq=False)
class ForkPair:
    """Two episodes of one session from one start.

    Attributes:
        good: It succeeded.
        bad: It did not.
        shared: The last frame that both have.
    """

    good: Episode
    bad: Episode
    shared: int


def fork_pairs(episodes: Sequence[Episode], least_fidelity: float) -> list[ForkPair]:
    """All pairs among the episodes of one session.

    Args:
        least_fidelity: A pair is left out if a frame up to its fork was trusted less.
    """
    judged = [episode for episode in episodes if episode.label != Label.DISCARD]
    pairs = []
    for good in (episode for episode in judged if episode.success):
        for bad in (episode for episode in judged if not episode.success):
            shared = _shared(good, bad)
            # Where one is the beginning of the other, nothing was chosen differently.
            if not 0 <= shared < min(good.steps, bad.steps):
                continue
            trusted = np.nan_to_num(good.fidelity[: shared + 1], nan=1.0).min()
            if trusted >= least_fidelity:
                pairs.append(ForkPair(good, bad, shared))
    return pairs


def _shared(one: Episode, other: Episode) -> int:
    """The last frame that both have; -1 if there is none."""
    most = min(len(one.nodes), len(other.nodes))
    same = (one.nodes[:most] == other.nodes[:most]) & (one.stamps[:most] == other.stamps[:most])
    return int(most if same.all() else same.argmin()) - 1


def pair_windows(
    pairs: Sequence[ForkPair], task: Task, size: Size
) -> tuple[Frames, Windows, NDArray[np.bool_]]:
    """The windows in which the two of a pair do something else after seeing the same.

    They begin at the frame of the fork, and at those before it from which on the executed part of a
    chunk (Ta) reaches beyond the fork.

    Returns:
        The frames; the windows (M), whose actions (M, 2 Tp) are the good chunk and then the bad
        one; and which steps count, bool (M, Tp): those that in both are somebody's choice.
    """
    kept, observations, actions, episodes, counted = [], [], [], [], []
    start = 0
    for number, pair in enumerate(pairs):
        first = max(0, pair.shared + 1 - size.chunk_steps - size.context)
        end = pair.shared + size.horizon
        good, bad = (_part(each, first, end) for each in (pair.good, pair.bad))
        shared = pair.shared - first
        rows = np.arange(max(0, shared + 1 - size.chunk_steps), shared + 1)
        ahead = rows[:, None] + np.arange(size.horizon)
        chosen = np.full(ahead.shape, True)
        places = []
        for each, begin in ((good, start), (bad, start + len(good.frames))):
            steps = np.minimum(ahead, each.steps - 1)
            places.append(begin + steps)
            # Beyond its end an episode's last action is repeated, which nobody chose.
            chosen &= (ahead < each.steps) & np.isin(each.sources[steps], CHOSEN)
        kept += [good, bad]
        observations.append(history_rows(start + rows, size.context, start))
        actions.append(np.concatenate(places, axis=1))
        episodes.append(np.full(len(rows), number))
        counted.append(chosen)
        start += len(good.frames) + len(bad.frames)
    frames = join_episodes(kept, task)
    windows = Windows(*(np.concatenate(parts) for parts in (observations, actions, episodes)))
    counts = np.concatenate(counted)
    of_good, of_bad = np.split(frames.actions[windows.actions], 2, axis=1)
    differ = ((of_good != of_bad).any(-1) & counts).any(-1)
    return (
        frames,
        Windows(windows.observations[differ], windows.actions[differ], windows.episodes[differ]),
        counts[differ],
    )


def _part(episode: Episode, first: int, end: int) -> Episode:
    """The frames from `first` to `end` and what was done between them."""
    frames, steps = slice(first, end + 1), slice(first, end)
    return replace(
        episode,
        frames=episode.frames[frames],
        joints=episode.joints[frames],
        scene=episode.scene[frames],
        actions=episode.actions[steps],
        sources=episode.sources[steps],
    )
