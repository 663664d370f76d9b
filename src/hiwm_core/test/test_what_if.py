# SPDX-License-Identifier: Apache-2.0
"""Many futures of one node at once: what they lead to, and that the tree does not notice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from point_mass import PointMass
import pytest

from hiwm_core.action import Action, Source
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import Node, RolloutTree
from hiwm_core.task import Task
from hiwm_core.what_if import expand


class Counting(PointMass):
    """Counts the calls of each kind."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.steps = self.decodes = 0

    def step(
        self, states: NDArray[np.float64], actions: NDArray[np.float64], keys: object
    ) -> NDArray[np.float64]:
        self.steps += 1
        return super().step(states, actions, keys)  # type: ignore[arg-type]

    def decode(self, states: NDArray[np.float64]) -> NDArray[np.uint8]:
        self.decodes += 1
        return super().decode(states)


class Bench:
    """A rig a few steps into a session."""

    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        self.backend = Counting(task)
        self.tree = RolloutTree(folder, 7)
        self.rig = Rig(task, self.tree)
        scene = task.start_scene(3)
        key = self.tree.root_key(scene)
        self.rig.reset(first_observation(self.backend, scene, key), key)
        self.drive(self.actions(1, 4, 0)[0])

    def actions(self, count: int, steps: int, seed: int) -> NDArray[np.float64]:
        return np.random.default_rng(seed).uniform(
            self.task.action_low, self.task.action_high, (count, steps, len(self.task.actions))
        )

    def drive(self, actions: NDArray[np.float64]) -> list[Node]:
        """Steps of the rig itself."""
        nodes = []
        for values in actions:
            self.rig.receive(Action(values, Source.OPERATOR, self.tree.epoch, self.rig.head.step))
            request = self.rig.begin_step()
            seen = next_observation(
                self.backend, request.observation, request.action.values, request.key
            )
            node = self.rig.finish_step(request, seen)
            assert node is not None
            nodes.append(node)
        return nodes


@pytest.fixture
def bench(tmp_path: Path, task: Task) -> Iterator[Bench]:
    bench = Bench(task, tmp_path)
    yield bench
    bench.tree.close()


def test_it_is_what_the_tree_would_lead_to(bench: Bench) -> None:
    """The point mass has no sums whose order a batch could change, so here the bits are equal."""
    actions, start = bench.actions(3, 6, 1), bench.rig.head.id
    expansion = expand(bench.task, bench.backend, bench.tree, start, actions, frames_at=(0, -1))
    for row in range(3):
        bench.rig.rollback(node=start)
        for step, node in enumerate(bench.drive(actions[row])):
            seen = bench.tree.observation(node.id)
            assert np.array_equal(expansion.states[row, step], seen.state)
            assert np.array_equal(expansion.readings.joints[row, step], seen.joints)
            assert expansion.readings.progress[row, step] == seen.progress
            if step in expansion.frames:
                assert np.array_equal(expansion.frames[step][row], seen.frame)
    assert set(expansion.frames) == {0, 5}


def test_one_call_makes_a_step_of_all_branches_and_frames_cost_only_where_asked(
    bench: Bench,
) -> None:
    before = (bench.tree.head, bench.tree.epoch, len(bench.tree.nodes), len(bench.tree.branches))
    bench.backend.steps = bench.backend.decodes = 0
    expansion = expand(bench.task, bench.backend, bench.tree, 2, bench.actions(40, 5, 2))
    assert (bench.backend.steps, bench.backend.decodes) == (5, 0)
    assert expansion.states.shape == (40, 5, bench.backend.state_size)
    assert expansion.readings.scene.shape == (40, 5, len(bench.task.scene))
    assert expansion.readings.success.shape == (40, 5)
    assert not expansion.frames
    after = (bench.tree.head, bench.tree.epoch, len(bench.tree.nodes), len(bench.tree.branches))
    assert after == before


def test_actions_are_executed_within_the_limits(bench: Bench) -> None:
    wild = np.full((1, 2, len(bench.task.actions)), 50.0)
    expansion = expand(bench.task, bench.backend, bench.tree, 1, wild)
    assert np.array_equal(expansion.actions[0, 0], bench.task.action_high)
    held = expand(bench.task, bench.backend, bench.tree, 1, expansion.actions)
    assert np.array_equal(held.states, expansion.states)


def test_other_salts_draw_other_numbers(bench: Bench) -> None:
    actions = np.repeat(bench.actions(1, 3, 4), 3, axis=0)
    same = expand(bench.task, bench.backend, bench.tree, 1, actions)
    assert np.array_equal(same.states[0], same.states[1])
    drawn = expand(bench.task, bench.backend, bench.tree, 1, actions, salts=[5, 6, 5])
    assert np.array_equal(drawn.states[0], drawn.states[2])
    assert not np.array_equal(drawn.states[0], drawn.states[1])
    assert not np.array_equal(drawn.states[0], same.states[0])


@pytest.mark.parametrize(
    ('shape', 'sentence'),
    [
        ((3, 14), 'needs .branches, steps, 14.'),
        ((3, 2, 13), 'needs .branches, steps, 14.'),
        ((0, 2, 14), 'each 1 or more'),
        ((3, 0, 14), 'each 1 or more'),
    ],
)
def test_actions_of_another_shape_are_refused(
    bench: Bench, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(HiwmError, match=sentence):
        expand(bench.task, bench.backend, bench.tree, 1, np.zeros(shape))


def test_what_else_cannot_be_is_refused(bench: Bench) -> None:
    actions = bench.actions(2, 3, 0)
    with pytest.raises(HiwmError, match='no node 99') as error:
        expand(bench.task, bench.backend, bench.tree, 99, actions)
    assert error.value.code is ErrorCode.UNKNOWN_NODE
    with pytest.raises(HiwmError, match='the steps are 0 to 2'):
        expand(bench.task, bench.backend, bench.tree, 1, actions, frames_at=[3])
    with pytest.raises(HiwmError, match='1 salts were given for 2 branches'):
        expand(bench.task, bench.backend, bench.tree, 1, actions, salts=[1])
    actions[1, 2, 3] = np.nan
    with pytest.raises(HiwmError, match='not a finite number'):
        expand(bench.task, bench.backend, bench.tree, 1, actions)
