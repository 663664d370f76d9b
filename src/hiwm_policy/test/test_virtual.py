# SPDX-License-Identifier: Apache-2.0
"""What post-training takes of sessions: each step once, only what may train, and no more than asked."""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from framed_episode import episode_of
import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.episodes import Episode
from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_core.tree_node import Label
from hiwm_core.weighting import Weighting
from hiwm_policy import virtual
from hiwm_policy.dataset import Frames, windows_of
from hiwm_policy.virtual import Piece, frames_of, read_pieces, select, step_weights

P, O, H = Source.POLICY, Source.OPERATOR, Source.HANDOVER  # noqa: E741


@pytest.fixture
def sessions(
    pusht: Task, demonstrations: Callable[..., Frames], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., None]:
    """Puts episodes where `read_episodes` finds bags."""

    def make(
        sources: list[Source], *, session: str = 'a', first_node: int = 1, **changes: object
    ) -> Episode:
        steps = len(sources)
        frames = demonstrations(pusht, episodes=1, steps=steps, seed=steps)
        given = {
            'kind': 'session',
            'session': session,
            'seed': 3,
            'actions': np.full((steps, 2), 0.25),
            'sources': np.array(sources, np.uint8),
            'nodes': np.arange(first_node, first_node + steps + 1, dtype=np.uint64),
            'branch': 'run-1',
        }
        return episode_of(frames, pusht, **given | changes)

    def give(*episodes: tuple[list[Source], dict[str, object]]) -> None:
        made = [make(sources, **options) for sources, options in episodes]
        monkeypatch.setattr(virtual, 'read_episodes', lambda path, task: iter(made))

    return give


def of(task: Task, scheme: Weighting, **options: object) -> list[Piece]:
    return read_pieces([Path('s')], task, scheme, **{'closed_loop': False, **options})


RUN = ([P] * 10, {'success': False})
BRANCH_NODES = np.array([1, 2, 3, 4, 5, 20, 21, 22, 23], np.uint64)
BRANCH = ([P] * 4 + [H] + [O] * 3, {'nodes': BRANCH_NODES, 'parent': 'run-1', 'fork': 4})


def test_the_operators_steps_of_branches_that_did_not_fail(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    sessions(RUN, BRANCH, ([P] * 4 + [O] * 4, {'session': 'b', 'success': False}))
    (piece,) = of(pusht, Weighting.UNIFORM)
    assert piece.taken.tolist() == [False] * 5 + [True] * 3, 'neither the policy nor the ramp'
    assert piece.corrected
    assert piece.first == 0


def test_a_step_that_two_branches_share_is_taken_once(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    again = {'nodes': np.array([1, 2, 3, 4, 5, 24, 25], np.uint64)}
    sessions(RUN, BRANCH, ([P] * 4 + [O] * 2, again))
    pieces = of(pusht, Weighting.IWR)
    taken = [int(node) for piece in pieces for node in piece.episode.nodes[1:][piece.taken]]
    assert len(taken) == len(set(taken))
    assert set(taken) == {*range(2, 6), *range(21, 26)}


def test_what_the_policy_did_before_it_failed_is_not_imitated(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    """Nor, by Sirius, what it did shortly before a takeover; both would crowd corrections out."""
    long = ([P] * 20 + [O] * 3, {'nodes': np.array([*range(1, 22), 30, 31, 32], np.uint64)})
    failed = ([P] * 30, {'success': False})
    sessions(failed, long)
    nodes = {}
    for scheme in (Weighting.SIRIUS, Weighting.IWR):
        pieces = of(pusht, scheme)
        nodes[scheme] = {
            int(node) for piece in pieces for node in piece.episode.nodes[1:][piece.taken]
        }
        assert [piece.corrected for piece in select(pieces, 3, seed=0)] == [True]
        assert [piece.steps for piece in select(pieces, 4, seed=0)] == [3, 1]
        demo, each = step_weights(pieces, 5, scheme)
        assert demo > 0.0 and all((of_rows > 0.0).any() for of_rows in each)
    assert nodes[Weighting.SIRIUS] == {*range(2, 7), 30, 31, 32}
    assert nodes[Weighting.IWR] == {*range(2, 22), 30, 31, 32}


def test_a_second_intervention_takes_no_room_where_only_the_first_counts(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    sessions(([P] * 2 + [O] * 3 + [P] * 2 + [O] * 10, {}))
    (piece,) = of(pusht, Weighting.RAC)
    assert np.flatnonzero(piece.taken).tolist() == [2, 3, 4]
    (kept,) = select([piece], 2, seed=0)
    _, (rows,) = step_weights([kept], 5, Weighting.RAC)
    assert (rows > 0.0).sum() == 2


def test_sessions_of_one_name_share_no_step(pusht: Task, sessions: Callable[..., None]) -> None:
    later = {'stamps': np.arange(100, 107)}
    sessions(([O] * 6, {}), ([O] * 6, later))
    assert [piece.steps for piece in of(pusht, Weighting.UNIFORM)] == [6, 6]


def test_the_baseline_takes_whole_successes_that_nobody_touched(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    sessions(RUN, BRANCH, ([P] * 6, {'session': 'b'}))
    (piece,) = of(pusht, Weighting.UNIFORM, closed_loop=True)
    assert (piece.steps, piece.corrected) == (6, False)
    sessions(RUN, BRANCH)
    with pytest.raises(
        ConfigurationError,
        match='of the 18 steps in s none is left: 10 belong to an episode that did not succeed',
    ):
        of(pusht, Weighting.UNIFORM, closed_loop=True)


def test_frames_that_are_not_trusted_end_what_is_taken(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    fidelity = np.array([1.0, 0.9, 0.9, 0.3, 0.9, 0.9, np.nan])
    sessions(([O] * 6, {'fidelity': fidelity}))
    (piece,) = of(pusht, Weighting.UNIFORM, least_fidelity=0.5)
    assert piece.taken.tolist() == [True] * 3 + [False] * 3
    sessions(([O] * 6, {'label': int(Label.DISCARD)}))
    with pytest.raises(ConfigurationError, match='6 belong to a branch with another label'):
        of(pusht, Weighting.UNIFORM)


def test_no_more_than_asked_and_seeded(pusht: Task, sessions: Callable[..., None]) -> None:
    sessions(*[([O] * (5 + number), {'session': f's{number}'}) for number in range(8)])
    pieces = of(pusht, Weighting.UNIFORM)
    total = sum(piece.steps for piece in pieces)
    for most in (1, 5, 20, 37, 1000):
        chosen = select(pieces, most, seed=1)
        assert sum(piece.steps for piece in chosen) == min(most, total)
        for piece in chosen:
            assert piece.taken[-1], 'of a piece that is too long the end is kept'
    assert len(select(pieces, 1000, seed=1)) == 8
    names = [[piece.episode.session for piece in select(pieces, 30, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    with pytest.raises(ConfigurationError, match='no room for a virtual step'):
        select(pieces, 0, seed=0)


def test_windows_are_drawn_by_their_weights_and_look_back(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    sessions(([P] * 20 + [O] * 5, {}))
    pieces = of(pusht, Weighting.UNIFORM)
    frames = frames_of(pieces, pusht)
    assert len(frames.frames) == 1 + 5 + virtual.LOOK_BACK
    _, each = step_weights(pieces, 100, Weighting.UNIFORM)
    windows = windows_of(frames, 2, 16, 8).weighted(np.concatenate(each))
    assert len(windows.observations) == 5
    first = virtual.LOOK_BACK
    assert windows.observations[0].tolist() == [first - 1, first]
    assert windows.weights is not None and np.ptp(windows.weights) == 0.0


def test_intervention_weighted_regression_gives_corrections_half_of_the_mass(
    pusht: Task, sessions: Callable[..., None]
) -> None:
    sessions(([P] * 20 + [O] * 5, {}))
    pieces = of(pusht, Weighting.IWR)
    demo, (corrected, rest) = step_weights(pieces, 100, Weighting.IWR)
    assert corrected.sum() == pytest.approx(rest.sum() + 100 * demo)
