# SPDX-License-Identifier: Apache-2.0
"""The shipped world model repeats itself bit for bit: the same actions give the same frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import hashlib
import json
from pathlib import Path
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from hiwm_core.action import Action, Source
from hiwm_core.backend import Backend, first_observation, next_observation
from hiwm_core.extension import load_backend
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import load_task
from test.rigs import MODELS

STEPS = 200
BRANCHES = 20
BRANCH_STEPS = 5
PATH = list(range(2, STEPS + 2))


class Rollouts:
    """A rig's core around the shipped world model, driven without a graph.

    Args:
        folder: Of the tree.
        backend: The world model.
    """

    def __init__(self, folder: Path, backend: Backend) -> None:
        self.task = load_task('pusht')
        self.tree = RolloutTree(folder, 3)
        self.rig = Rig(self.task, self.tree)
        self._backend = backend

    def begin(self) -> None:
        scene = self.task.start_scene(5)
        key = self.tree.root_key(scene)
        self.rig.reset(first_observation(self._backend, scene, key), key)

    def follow(self, actions: np.ndarray) -> list[int]:
        """Execute actions (T, A) from the head; returns the nodes."""
        nodes = []
        for values in actions:
            head = self.rig.head
            self.rig.receive(Action(values, Source.OPERATOR, self.tree.epoch, head.step))
            request = self.rig.begin_step()
            node = self.rig.finish_step(
                request,
                next_observation(
                    self._backend, request.observation, request.action.values, request.key
                ),
            )
            assert node is not None
            nodes.append(node.id)
        return nodes

    def hashes(self, nodes: list[int]) -> list[str]:
        """What was observed at nodes, read back from the tree."""
        seen = [self.tree.observation(node) for node in nodes]
        return [
            hashlib.sha256(each.frame.tobytes() + each.state.tobytes()).hexdigest() for each in seen
        ]

    def retrace(self, node: int, actions: np.ndarray) -> list[str]:
        """Roll back to a node and execute actions; returns what was observed after each."""
        self.rig.rollback(node=node)
        return self.hashes(self.follow(actions))


@contextmanager
def rollouts(folder: Path) -> Iterator[Rollouts]:
    """The tree of a folder with the shipped world model, as long as the block lasts."""
    torch.set_num_threads(1)
    made = Rollouts(folder, load_backend('world_model', load_task('pusht'), MODELS / 'world_model'))
    try:
        yield made
    finally:
        made.tree.close()


def drawn_actions() -> np.ndarray:
    """A path (STEPS, A) across the workspace, in strokes of some steps each."""
    task, dice = load_task('pusht'), np.random.default_rng(0)
    strokes = dice.uniform(0.1, 0.9, (STEPS // 8, len(task.actions)))
    return task.action_low + (task.action_high - task.action_low) * np.repeat(strokes, 8, axis=0)


def forks() -> list[int]:
    """After how many steps of the path the branches leave it."""
    return random.Random(0).sample(range(STEPS - BRANCH_STEPS), BRANCHES)


def retrace_all(folder: Path) -> list[list[str]]:
    """The path and every branch once more, from the tree in a folder."""
    actions = drawn_actions()
    with rollouts(folder) as made:
        return [made.retrace(1, actions)] + [
            made.retrace(1 + fork, actions[fork : fork + BRANCH_STEPS]) for fork in forks()
        ]


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session whose nodes 2 to STEPS + 1 are the path."""
    folder = tmp_path_factory.mktemp('session')
    with rollouts(folder) as made:
        made.begin()
        assert made.follow(drawn_actions()) == PATH
    return folder


def test_the_same_node_and_actions_give_the_same_frames_in_another_process_too(
    folder: Path,
) -> None:
    actions = drawn_actions()
    with rollouts(folder) as made:
        path = made.hashes(PATH)
        assert len(set(path)) > STEPS / 2, 'something happens on the path'
        expected = [path] + [path[fork : fork + BRANCH_STEPS] for fork in forks()]
        for fork, branch in zip(forks(), expected[1:], strict=True):
            assert made.retrace(1 + fork, actions[fork : fork + BRANCH_STEPS]) == branch
    again = subprocess.run(
        [
            sys.executable,
            '-c',
            'import json, pathlib, sys; from test.test_repeatable import retrace_all; '
            'print(json.dumps(retrace_all(pathlib.Path(sys.argv[1]))))',
            str(folder),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert json.loads(again.stdout) == expected


def test_a_resampled_branch_is_another_one_and_as_repeatable(folder: Path) -> None:
    actions = drawn_actions()
    resampled = {}
    with rollouts(folder) as made:
        for fork in forks():
            made.rig.fork(node=1 + fork, resample=True)
            resampled[fork] = made.follow(actions[fork : fork + BRANCH_STEPS])
            pairs = zip(PATH[fork:], resampled[fork], strict=False)
            assert any(
                made.tree.observation(one).frame.tobytes()
                != made.tree.observation(other).frame.tobytes()
                for one, other in pairs
            ), f'the branch after {fork} steps shows the same again'
    with rollouts(folder) as made:
        for fork, nodes in resampled.items():
            rest = actions[fork + 1 : fork + BRANCH_STEPS]
            assert made.retrace(nodes[0], rest) == made.hashes(nodes[1:])
