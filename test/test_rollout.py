# SPDX-License-Identifier: Apache-2.0
"""The shipped policy continues a node of a live world model: as the core does, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from action_msgs.msg import GoalStatus
import numpy as np
import torch

from hiwm_core import contract
from hiwm_core.backend import Backend, first_observation
from hiwm_core.extension import load_backend, open_policy
from hiwm_core.rollout import Rollout
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task
from test.probe import watching
from test.process import Process
from test.rigs import MODELS, RIGS
from test.rollout_client import RolloutClient

POLICY = MODELS / 'policy'
SIZE = {'count': 3, 'horizon': 20, 'seed': 5}


def in_process(
    task: Task, backend: Backend, folder: Path, seed: int, batch: int
) -> list[tuple[float, ...]]:
    """The same rollout from the same root, without a graph."""
    tree = RolloutTree(folder, seed)
    scene = task.start_scene(seed)
    key = tree.root_key(scene)
    root = tree.add_root(first_observation(backend, scene, key), 'run-1', key)

    @contextmanager
    def lend() -> Iterator[Backend]:
        yield backend

    rollout = Rollout(
        task, tree, root.id, open_policy(task, str(POLICY)), lend, batch=batch, **SIZE
    )
    while not rollout.done:
        rollout.step()
    tree.close()
    return [
        (each.progress, each.best_progress, each.success, each.fidelity)
        for each in rollout.continuations
    ]


def test_the_shipped_policy_continues_a_node(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    parameters = ('-p', 'seed:=8', '-p', f'policy:={POLICY}', '-p', 'rollout_batch:=2')
    with watching() as probe, Process([*RIGS['world_model'], *parameters], tmp_path / 'log'):
        probe.until(lambda: probe.states, 'the first state')
        client = RolloutClient(probe)
        status, result = client.ask(node=1, **SIZE)
        assert status == GoalStatus.STATUS_SUCCEEDED, result.message
        assert (result.policy, result.steps, result.success) == ('diffusion', 20, True)
        backend = load_backend('world_model', probe.task, MODELS / 'world_model')
        expected = in_process(probe.task, backend, tmp_path / 'tree', seed=8, batch=2)
        told = [
            (each.progress, each.best_progress, each.success, each.fidelity)
            for each in result.continuations
        ]
        assert told == expected
        assert len(set(told)) == 3, 'each continuation goes its own way'
        assert np.isfinite(told).all()
        client.destroy()
        assert probe.must(contract.GET_TREE).node_count == 1
