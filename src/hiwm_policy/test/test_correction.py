# SPDX-License-Identifier: Apache-2.0
"""Corrections by the scripted operator, on physics, and their sessions as they are read back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.action import Source
from hiwm_core.episodes import read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_backend
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_core.weighting import Weighting
from hiwm_policy import correct_node
from hiwm_policy.correct_node import Collection
from hiwm_policy.correction import Practice, practise
from hiwm_policy.model import WEIGHTS
from hiwm_policy.practice_session import (
    UNFINISHED_NAME,
    read_tally,
    session_folder,
    write_session,
)
from hiwm_policy.virtual import read_pieces
from hiwm_robot.scripted_operator import Habits

SEED = 50_000_003
HABITS = Habits(rollback_steps=4, most_steps=6, stall_steps=10)


class Still:
    """A policy that does nothing: it stays where it is."""

    name = 'still'
    context = 1
    chunk_steps = 4

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        return np.repeat(history[-1].joints[None], 4, axis=0)


@pytest.fixture(scope='module')
def task() -> Task:
    from hiwm_core.task import load_task  # noqa: PLC0415

    return replace(load_task('pusht'), episode_steps=30)


@pytest.fixture(scope='module')
def practice(task: Task) -> Practice:
    """A policy that stalls, corrected twice for six steps each."""
    (made,) = practise(
        task, load_backend('sim_arm', task), Still(), [SEED], branches=2, habits=HABITS
    )
    return made


def test_a_stall_is_corrected_from_further_and_further_back(task: Task, practice: Practice) -> None:
    assert practice.attempt.steps == 11, 'ten steps without a gain, seen after eleven'
    assert practice.reason.startswith('no gain above 0.02 of coverage in 10 steps')
    first, second = practice.corrections
    assert (first.fork, second.fork) == (7, 3)
    for each in practice.corrections:
        assert len(each.actions) == len(each.observations) == len(each.sources) == 6
        assert not each.success
        assert each.outcome.startswith('not done after 6 steps')
    assert practice.operator_steps() == 12


def test_no_action_is_further_from_the_last_than_the_largest_step(
    task: Task, practice: Practice
) -> None:
    for each in practice.corrections:
        before = practice.attempt.observations[each.fork].joints
        for action in each.actions:
            assert (np.abs(action - before) <= task.action_max_step * (1 + 1e-6)).all()
            before = action
    joints = [each.joints for each in practice.corrections[0].observations]
    assert np.ptp(joints, axis=0).max() > 0.01, 'the operator drives'


def test_nobody_watches_without_branches(task: Task) -> None:
    physics = load_backend('sim_arm', task)
    (made,) = practise(task, physics, Still(), [SEED], branches=0, habits=HABITS)
    assert (made.attempt.steps, made.reason, made.corrections) == (30, '', [])


def test_a_session_is_read_back_as_it_was(task: Task, practice: Practice, tmp_path: Path) -> None:
    tally = write_session(tmp_path, task, 'sim_arm', 'still', practice)
    assert read_tally(session_folder(tmp_path, SEED)) == tally
    assert not any((tmp_path / UNFINISHED_NAME).iterdir())
    run, *branches = read_episodes(tmp_path, task)
    assert (run.kind, run.seed, run.label) == ('session', SEED, 2)
    assert (run.sources == Source.POLICY).all()
    seen = practice.attempt.observations
    np.testing.assert_array_equal(run.frames, [each.frame for each in seen])
    np.testing.assert_array_equal(run.actions, practice.attempt.actions)
    assert [branch.branch for branch in branches] == ['branch-1', 'branch-2']
    for branch, correction in zip(branches, practice.corrections, strict=True):
        fork = correction.fork
        assert (branch.parent, branch.fork, branch.label) == ('run-1', fork, 2)
        after = [each.frame for each in correction.observations]
        np.testing.assert_array_equal(branch.frames[: fork + 1], run.frames[: fork + 1])
        np.testing.assert_array_equal(branch.frames[fork + 1 :], after)
        np.testing.assert_array_equal(branch.actions[fork:], correction.actions)
        assert branch.sources[fork:].tolist() == [int(each) for each in correction.sources]
        assert branch.phases[:fork].tolist() == [1] * fork
        assert branch.phases[fork:].tolist() == [4] * 6, 'the operator corrects'
        assert not branch.success


def test_what_did_not_fail_is_what_post_training_takes(
    task: Task, practice: Practice, tmp_path: Path
) -> None:
    done = Practice(
        practice.attempt,
        practice.reason,
        [practice.corrections[0], _succeeded(practice.corrections[1])],
    )
    write_session(tmp_path, task, 'sim_arm', 'still', done)
    (piece,) = read_pieces([tmp_path], task, Weighting.UNIFORM, closed_loop=False)
    assert piece.episode.branch == 'branch-2'
    driven = [source is Source.OPERATOR for source in practice.corrections[1].sources]
    assert piece.taken[practice.corrections[1].fork :].tolist() == driven


def _succeeded(correction: object) -> object:
    return replace(correction, success=True)  # type: ignore[type-var]


def test_the_operators_time_is_kept_to(task: Task, practice: Practice, tmp_path: Path) -> None:
    given = correct_node.arguments(
        ['--policy', 'p', '--out', str(tmp_path), '--operator-seconds', '1.1']
    )
    collection = Collection(given, task)
    kept = collection.afford(practice)
    assert len(kept.corrections) == 1, 'eleven steps are left, and two would take twelve'
    collection.tallies.append(write_session(tmp_path, task, 'sim_arm', 'still', kept))
    assert collection.operator_steps == 6
    assert collection.full, 'no correction is shorter than a second'


def test_the_same_command_goes_on_and_another_is_refused(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correct_node, 'load_task', lambda name: task)
    monkeypatch.setattr(correct_node, 'open_policy', lambda task, which: Still())
    made: list[int] = []

    def counted(*arguments: object, **options: object) -> list[Practice]:
        made.extend(arguments[3])  # type: ignore[call-overload]
        return practise(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(correct_node, 'practise', counted)
    options = ['--policy', 'p', '--rig', 'sim_arm', '--out', str(tmp_path), '--branches', '0']
    first = correct_node.correct(
        correct_node.arguments([*options, '--starts', '2', '--batch', '1'])
    )
    assert (first['starts'], made) == (2, [50_000_000, 50_000_001])
    again = correct_node.correct(
        correct_node.arguments([*options, '--starts', '3', '--batch', '1'])
    )
    assert (again['starts'], made[2:]) == (3, [50_000_002])
    assert json.loads((tmp_path / correct_node.SETTINGS_NAME).read_text())['branches'] == '0'
    with pytest.raises(ConfigurationError, match='sessions with another batch'):
        correct_node.correct(correct_node.arguments([*options, '--batch', '5']))


def test_sessions_of_a_policy_that_was_trained_anew_are_not_gone_on_with(
    tmp_path: Path,
) -> None:
    policy = tmp_path / 'policy'
    policy.mkdir()
    (policy / WEIGHTS).write_bytes(b'weights')
    given = correct_node.arguments(['--policy', str(policy), '--out', str(tmp_path / 'sessions')])
    correct_node.prepare(given)
    correct_node.prepare(given)
    (policy / WEIGHTS).write_bytes(b'other weights')
    with pytest.raises(ConfigurationError, match='sessions with another policy weights; remove it'):
        correct_node.prepare(given)
    (given.out / correct_node.SETTINGS_NAME).write_text('{')
    with pytest.raises(ConfigurationError, match=r'correct\.json cannot be used'):
        correct_node.prepare(given)
