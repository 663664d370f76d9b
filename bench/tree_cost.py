# SPDX-License-Identifier: Apache-2.0
"""What one node of the rollout tree costs in memory, in the rig and in the console.

A session's memory has to grow with its tree: only what finds and names nodes is kept, but that is
kept for all of them. Each cost is measured in a fresh process, as the growth of its own memory
while the structures of the node that holds them take in so many nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
import gc
from multiprocessing import get_context
import os
from pathlib import Path
import tempfile

import numpy as np

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.rollout_tree import RolloutTree
from hiwm_intervention.console_feed import TreeFeed
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_tree import Lane, TreeView

NODES = 40_000
BRANCH_EVERY = 50


def node_costs() -> dict[str, float]:
    """Bytes a node, by the name of the process that has the tree."""
    work: dict[str, Callable[[], float]] = {
        'world_model': _cost_of_rig,
        'console': _cost_of_console,
    }
    with ProcessPoolExecutor(
        len(work), mp_context=get_context('spawn'), max_tasks_per_child=1
    ) as pool:
        costs = {name: pool.submit(each) for name, each in work.items()}
        return {name: cost.result() for name, cost in costs.items()}


def _own_bytes() -> int:
    gc.collect()
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('RssAnon'))


def _make_tree(folder: str) -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    actions = np.random.default_rng(0).random((NODES, 2))
    tree = RolloutTree(Path(folder), 0)
    observation = Observation(frame, np.zeros(2), np.zeros(5), 0.5, 0.5, 0.5, np.zeros(1))
    tree.add_root(observation, 'run-1', 1)
    for number in range(1, NODES):
        branch = tree.head_branch
        if number % BRANCH_EVERY == 0:
            branch = tree.add_branch(f'branch-{number}', tree.head).name
        tree.add_child(observation, actions[number], Source.POLICY, branch)
    tree.close()


def _cost_of_rig() -> float:
    """The tree as it is opened: without the cache of frames, whose size is limited."""
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        # In another process: what that has freed would be taken again here, and cost nothing.
        maker = get_context('spawn').Process(target=_make_tree, args=(folder,))
        maker.start()
        maker.join()
        before = _own_bytes()
        tree = RolloutTree(Path(folder), 0)
        cost = (_own_bytes() - before) / len(tree.nodes)
        tree.close()
    return cost


def _cost_of_console() -> float:
    view, feed = TreeView(), TreeFeed(os.urandom(4).hex())
    before = _own_bytes()
    for number in range(1, NODES + 1):
        branch = f'branch-{number // BRANCH_EVERY}'
        if branch not in view.lanes:
            view.take([], [Lane(branch, 1, number - 1, number)], {}, 0)
        view.see(Place(number, number - 1, number + 1000, branch, Source.POLICY))
        news = view.take_news()
        if news is not None:
            feed.take(news)
    return (_own_bytes() - before) / NODES
