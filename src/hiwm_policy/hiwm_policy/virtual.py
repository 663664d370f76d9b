# SPDX-License-Identifier: Apache-2.0
"""Virtual data: the recorded steps that post-training learns from, and how much each counts.

Episodes of one session share their beginnings, so a step is taken once: from a branch that somebody
drove rather than from the attempt that it left. What may be learned from is

- Hi-WM: the steps that an operator drove in branches that did not fail; with the recipes `iwr` and
  `sirius`, which weigh them, also what the policy did in branches of the same sessions that did not
  fail, except what the recipe gives no weight;
- WM-CL: whole attempts that succeeded and that nobody corrected.

HANDOVER steps and holds never train; nor do branches that were labelled to be discarded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.action import Source
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.selection import Selection, Wanted, corrected_first
from hiwm_core.task import Task
from hiwm_core.weighting import (
    StepClass,
    Weighting,
    class_weights,
    count_classes,
    may_count,
    step_classes,
    weights,
)
from hiwm_policy.dataset import Frames, join_episodes
from hiwm_policy.fork_pair import ForkPair, fork_pairs

# Frames before the first step that is learned from, for the windows that look back.
LOOK_BACK = 8
# Recipes that learn from what the policy did too.
WITH_ROLLOUTS = (Weighting.IWR, Weighting.SIRIUS)


@dataclass(frozen=True, eq=False)
class Piece:
    """What an episode adds to those before it.

    Attributes:
        episode: Whole, so that its steps have their classes.
        taken: bool (T,), the steps to learn from.
    """

    episode: Episode
    taken: NDArray[np.bool_]

    @property
    def first(self) -> int:
        """The step from which on it is kept."""
        return max(0, int(np.flatnonzero(self.taken)[0]) - LOOK_BACK)

    @property
    def steps(self) -> int:
        """How many steps are learned from."""
        return int(self.taken.sum())

    def ending(self, most_steps: int) -> Piece:
        """The same with no more than its last steps."""
        taken = self.taken.copy()
        taken[np.flatnonzero(taken)[:-most_steps]] = False
        return Piece(self.episode, taken)

    @property
    def corrected(self) -> bool:
        """Whether a person drove in it."""
        return bool((self.episode.sources[self.taken] == Source.OPERATOR).any())


def read_pieces(
    folders: Sequence[Path],
    task: Task,
    scheme: Weighting,
    *,
    closed_loop: bool,
    least_fidelity: float = 0.0,
    pairs: list[ForkPair] | None = None,
) -> list[Piece]:
    """What the sessions below the folders offer.

    Args:
        closed_loop: WM-CL instead of Hi-WM.
        least_fidelity: A step is left out if a frame before it in its episode was trusted less.
        pairs: Gets all pairs of good and bad branches of one fork.

    Raises:
        ConfigurationError: They offer nothing; the sentence says why.
        HiwmError: There is no bag, or the only one cannot be used.
    """
    selections = [Selection(wanted) for wanted in wanted_of(scheme, closed_loop, least_fidelity)]
    pieces: list[Piece] = []
    found = tqdm(read_episodes(folders, task), desc='reading sessions', unit='episode')
    for session in corrected_first(found):
        for episode in session:
            for selection in selections:
                taken = selection.take(episode)
                # What weighs nothing takes no room from what does.
                taken &= may_count(episode, scheme)
                if taken.any():
                    pieces.append(Piece(episode, taken))
        if pairs is not None:
            pairs += fork_pairs(session, least_fidelity)
    if not pieces:
        selections[0].check(', '.join(map(str, folders)))
    return pieces


def wanted_of(scheme: Weighting, closed_loop: bool, least_fidelity: float) -> list[Wanted]:
    """What may be learned from, as the filters of `hiwm_core.selection`: any of these."""
    whole = Wanted(successful=True, untouched=True, least_fidelity=least_fidelity)
    corrections = Wanted(
        successful=True, sources=frozenset({Source.OPERATOR}), least_fidelity=least_fidelity
    )
    rollouts = Wanted(
        successful=True, sources=frozenset({Source.POLICY}), least_fidelity=least_fidelity
    )
    if closed_loop:
        return [whole]
    return [corrections, rollouts] if scheme in WITH_ROLLOUTS else [corrections]


def frames_of(pieces: Sequence[Piece], task: Task) -> Frames:
    """The pieces one after the other, without the beginnings that nothing looks back to."""
    trimmed = []
    for piece in pieces:
        episode, first = piece.episode, piece.first
        trimmed.append(
            replace(
                episode,
                frames=episode.frames[first:],
                joints=episode.joints[first:],
                scene=episode.scene[first:],
                actions=episode.actions[first:],
                sources=episode.sources[first:],
            )
        )
    return join_episodes(trimmed, task)


def select(pieces: Sequence[Piece], most_steps: int, seed: int) -> list[Piece]:
    """Pieces in an order drawn at random, corrections first, until they have so many steps.

    The one that would be too long is kept with its last steps, so that two sets of sessions can be
    learned from at an equal number.

    Raises:
        ConfigurationError: There is no room for a step.
    """
    if most_steps < 1:
        raise ConfigurationError(
            'there is no room for a virtual step; raise --virtual-share or add demonstrations'
        )
    chosen: list[Piece] = []
    left = most_steps
    drawn = [pieces[place] for place in np.random.default_rng(seed).permutation(len(pieces))]
    for offered in sorted(drawn, key=lambda piece: not piece.corrected):
        piece = offered.ending(left)
        chosen.append(piece)
        left -= piece.steps
        if not left:
            break
    return chosen


def step_weights(
    pieces: Sequence[Piece], demo_steps: int, scheme: Weighting
) -> tuple[float, list[NDArray[np.float64]]]:
    """The weight of a demonstrated step, and for each piece those of its rows in `frames_of`.

    Args:
        demo_steps: How many steps the demonstrations have.
    """
    counts = np.zeros(len(StepClass), np.int64)
    counts[StepClass.DEMO] = demo_steps
    for piece in pieces:
        counts += count_classes(step_classes(piece.episode)[piece.taken])
    each = []
    for piece in pieces:
        of_steps = np.where(piece.taken, weights(piece.episode, scheme, counts), 0.0)
        each.append(np.append(of_steps[piece.first :], 0.0))
    return float(class_weights(counts, scheme)[StepClass.DEMO]), each
