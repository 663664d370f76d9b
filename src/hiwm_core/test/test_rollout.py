# SPDX-License-Identifier: Apache-2.0
"""A policy's continuations of a node: who succeeds, when, and that it can be repeated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from point_mass import PointMass
import pytest

from hiwm_core.action import Source
from hiwm_core.backend import Backend, first_observation, next_observation
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.policy import chunks_of
from hiwm_core.rollout import Rollout
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]


class Chancer:
    """Drives every joint to a height of its own, drawn from the key; remembers what it was asked.

    Where the height is above 0.9 of the range it is one that succeeds.
    """

    name = 'chancer'
    context = 3
    chunk_steps = 2

    def __init__(self, task: Task) -> None:
        self._task = task
        self.lengths: list[int] = []
        self.keys: list[int] = []

    def chunk(self, history: Sequence[Observation], key: int) -> FloatArray:
        self.lengths.append(len(history))
        self.keys.append(key)
        share = np.random.default_rng(key).uniform(0.0, 1.2)
        reach = self._task.action_high - self._task.action_low
        return np.repeat((self._task.action_low + share * reach)[None], 4, axis=0)


class BatchedChancer(Chancer):
    """The same, many at once."""

    calls = 0

    def chunks(self, histories: Sequence[Sequence[Observation]], keys: Sequence[int]) -> FloatArray:
        self.calls += 1
        return np.stack([self.chunk(*each) for each in zip(histories, keys, strict=True)])


class Heights(PointMass):
    """Its progress is the mean height of the joints, 0 to 1; remembers how many rows it steps."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.rows: list[int] = []

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        self.rows.append(len(states))
        return super().step(states, actions, keys)

    def heads(self, states: FloatArray, frames: Any = None) -> Any:
        readings = super().heads(states, frames)
        low, high = self._task.action_low, self._task.action_high
        heights = (np.split(states, 2, axis=1)[1][:, self._columns] - low) / (high - low)
        readings.progress[:] = readings.success[:] = heights.mean(axis=1)
        readings.fidelity[:] = 1.0 - 0.5 * readings.progress
        return readings


class Bench:
    """A tree of a few nodes, and rollouts from it."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        self.backend = Heights(task)
        self.tree = RolloutTree(folder, 3)
        self.loans = 0
        seen = first_observation(self.backend, task.start_scene(0), 0)
        self.tree.add_root(seen, 'run-1', 5)
        for _ in range(3):
            action = task.hold_action(seen.joints)
            seen = next_observation(self.backend, seen, action, 0)
            self.tree.add_child(seen, action, Source.POLICY, 'run-1')
        self.backend.rows.clear()

    @contextmanager
    def lend(self) -> Iterator[Backend]:
        self.loans += 1
        yield self.backend

    def rollout(self, policy: Chancer, **changed: int) -> Rollout:
        settings = {'count': 12, 'horizon': 40, 'seed': 1, 'batch': 5, **changed}
        node = settings.pop('node', 4)
        return Rollout(self.task, self.tree, node, policy, self.lend, **settings)

    def outcome(self, policy: Chancer, **changed: int) -> list[tuple[Any, ...]]:
        rollout = self.rollout(policy, **changed)
        while not rollout.done:
            rollout.step()
        return [tuple(vars(each).values()) for each in rollout.continuations]


@pytest.fixture
def bench(tmp_path: Path, task: Task) -> Iterator[Bench]:
    bench = Bench(task, tmp_path)
    yield bench
    bench.tree.close()


def test_some_succeed_and_the_others_reach_the_horizon(bench: Bench) -> None:
    policy = Chancer(bench.task)
    rollout = bench.rollout(policy)
    won = []
    while not rollout.done:
        rollout.step()
        won.append(rollout.successes)
    assert rollout.steps == len(won) == 40
    assert won == sorted(won)
    assert 0 < rollout.successes < 12
    above = bench.task.success_above
    for each in rollout.continuations:
        assert each.succeeded == (each.best_progress > above)
        assert each.steps == (each.steps_to_success if each.succeeded else 40)
        assert (each.steps_to_success == -1) == (not each.succeeded)
        assert each.best_progress >= each.progress
        assert each.fidelity == pytest.approx(1.0 - 0.5 * each.best_progress)
    assert policy.lengths[0] == 3, 'the first chunk knows the past of the node'
    assert len(set(policy.keys)) == len(policy.keys), 'every chunk draws anew'


def test_who_has_succeeded_costs_nothing_any_more(bench: Bench) -> None:
    rollout = bench.rollout(Chancer(bench.task))
    while not rollout.done:
        rollout.step()
    assert bench.backend.rows[:3] == [5, 5, 2]
    assert sum(bench.backend.rows) == sum(each.steps for each in rollout.continuations)
    assert bench.loans == len(bench.backend.rows), 'one loan for each batch of a step'


def test_an_equal_rollout_has_an_equal_outcome(bench: Bench) -> None:
    first = bench.outcome(Chancer(bench.task))
    assert bench.outcome(Chancer(bench.task)) == first
    assert bench.outcome(Chancer(bench.task), batch=12) == first
    assert bench.outcome(BatchedChancer(bench.task)) == first
    assert bench.outcome(Chancer(bench.task), seed=2) != first
    assert bench.outcome(Chancer(bench.task), node=2) != first
    assert bench.outcome(Chancer(bench.task), count=3) == first[:3]


def test_a_policy_that_can_is_asked_for_many_chunks_at_once(bench: Bench) -> None:
    policy = BatchedChancer(bench.task)
    bench.outcome(policy, horizon=2)
    assert policy.calls == 3
    history = [bench.tree.observation(1)]
    together = chunks_of(policy, [history, history], [1, 2])
    alone = chunks_of(Chancer(bench.task), [history, history], [1, 2])
    assert np.array_equal(together, alone)


def test_from_where_the_task_is_done_nothing_is_to_do(bench: Bench) -> None:
    seen = first_observation(bench.backend, np.full(17, 1.5), 0)
    assert seen.progress > bench.task.success_above
    root = bench.tree.add_root(seen, 'run-2', 9)
    rollout = bench.rollout(Chancer(bench.task), node=root.id)
    assert rollout.done
    assert rollout.successes == 12
    assert {each.steps_to_success for each in rollout.continuations} == {0}


@pytest.mark.parametrize(
    ('changed', 'sentence', 'code'),
    [
        ({'count': 0}, '1 to 256 continuations, not 0', ErrorCode.INVALID_ARGUMENT),
        ({'count': 257}, '1 to 256 continuations, not 257', ErrorCode.INVALID_ARGUMENT),
        ({'horizon': 0}, '1 to 2000 steps, not 0', ErrorCode.INVALID_ARGUMENT),
        ({'horizon': 2001}, '1 to 2000 steps, not 2001', ErrorCode.INVALID_ARGUMENT),
        ({'seed': -1}, 'a seed is 0 or larger, not -1', ErrorCode.INVALID_ARGUMENT),
        ({'node': 9}, 'there is no node 9', ErrorCode.UNKNOWN_NODE),
    ],
)
def test_what_cannot_be_is_refused(
    bench: Bench, changed: dict[str, int], sentence: str, code: ErrorCode
) -> None:
    with pytest.raises(HiwmError, match=sentence) as error:
        bench.rollout(Chancer(bench.task), **changed)
    assert error.value.code is code


class Broken(Chancer):
    """Gives chunks that cannot be carried out."""

    def __init__(self, task: Task, chunk: FloatArray) -> None:
        super().__init__(task)
        self._chunk = chunk

    def chunk(self, history: Sequence[Observation], key: int) -> FloatArray:
        return self._chunk


@pytest.mark.parametrize(
    'chunk', [np.zeros((1, 14)), np.zeros((4, 13)), np.full((4, 14), np.nan), np.zeros(14)]
)
def test_a_policy_that_gives_no_chunk_is_a_fault(bench: Bench, chunk: FloatArray) -> None:
    rollout = bench.rollout(Broken(bench.task, chunk))
    with pytest.raises(HiwmError, match="policy 'chancer' gave chunks") as error:
        rollout.step()
    assert error.value.code is ErrorCode.MODEL_FAULT
