# SPDX-License-Identifier: Apache-2.0
"""Episodes from bags: every path from a start to the end of a branch, ready to be learned from.

Needs neither ROS nor a network's library. A session with branches gives one episode a branch:
their common beginning is in each of them, and `Episode.nodes` tells which frames are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiwm_core.bag_reader import find_bags
from hiwm_core.error import HiwmError
from hiwm_core.session_log import SessionLog, read_session
from hiwm_core.session_tree import LoggedBranch, LoggedNode
from hiwm_core.task import Task

LOGGER = logging.getLogger(__name__)
LABEL_NONE, LABEL_SUCCESS = 0, 1  # Label.LABEL_*


@dataclass(frozen=True, eq=False)
class Episode:
    """T steps from a start to the end of a branch.

    Attributes:
        task: The task's name.
        session: The session's name.
        kind: What it was made for: demo, play, edge, policy or session.
        seed: Of its start; -1 if it began with an explicit scene or its start was not recorded.
        frames: uint8 (T+1, H, W, 3), RGB.
        joints: float64 (T+1, J), in the task's order and units.
        scene: float64 (T+1, S), in the task's order and units; (T+1, 0) where the rig knew nothing.
        progress: float64 (T+1,), the task's measure of success; NaN where unknown.
        actions: float64 (T, A), executed between frame t and t+1, in the task's order and units.
        sources: uint8 (T,), who chose them: Action.SOURCE_*.
        shadow: float64 (T, A), what the policy proposed at the same time; NaN where nothing.
        phases: uint8 (T,), MuxState.PHASE_* at the time; 0 unknown.
        nodes: uint64 (T+1,), ids in the session's rollout tree.
        branch: The branch's name.
        label: A person's judgement, Label.LABEL_*.
        success: The label's word; without one the recorder's, or the task's criterion in any frame.
    """

    task: str
    session: str
    kind: str
    seed: int
    frames: NDArray[np.uint8]
    joints: NDArray[np.float64]
    scene: NDArray[np.float64]
    progress: NDArray[np.float64]
    actions: NDArray[np.float64]
    sources: NDArray[np.uint8]
    shadow: NDArray[np.float64]
    phases: NDArray[np.uint8]
    nodes: NDArray[np.uint64]
    branch: str
    label: int
    success: bool


def read_episodes(path: Path, task: Task) -> Iterator[Episode]:
    """Every episode in a bag, or in all bags below a folder, in the order of their paths.

    Among several bags, one that is damaged or of another task is named in a warning and skipped.

    Raises:
        HiwmError: There is no bag, or the only one cannot be used; the sentence names its path.
    """
    bags = find_bags(path)
    for bag in bags:
        try:
            log = read_session(bag, task)
        except HiwmError as error:
            if len(bags) == 1:
                raise
            LOGGER.warning('%s; it is skipped', error.message)
            continue
        yield from episodes_of(log, task)


def episodes_of(log: SessionLog, task: Task) -> Iterator[Episode]:
    """The episodes of one bag: every leaf of the tree ends one, and so does every label."""
    tree = log.tree
    parents = set(tree.parents().values())
    for branch in tree.branches.values():
        head = tree.nodes.get(branch.head)
        if head is None:
            continue
        ends_here = head.branch == branch.name and head.id not in parents
        if ends_here or branch.label != LABEL_NONE:
            path = _unbroken(log, branch)
            if len(path) > 1:
                yield _episode(log, task, branch, path)


def _unbroken(log: SessionLog, branch: LoggedBranch) -> list[LoggedNode]:
    """The longest end of a branch's path in which every frame and every action was recorded."""
    path = log.tree.path(branch.head)
    first = 0
    for place, node in enumerate(path):
        if not log.has_frame[node.row]:
            first = place + 1
        elif np.isnan(log.actions[node.row]).any():
            first = place
    if first:
        LOGGER.warning(
            "branch '%s' of %s lacks a frame or an action before step %d; that part is left out",
            branch.name,
            log.path,
            path[min(first, len(path) - 1)].step,
        )
    return path[first:]


def _episode(log: SessionLog, task: Task, branch: LoggedBranch, path: list[LoggedNode]) -> Episode:
    rows = _index([node.row for node in path])
    steps = _index([node.row for node in path[1:]])
    progress = log.progress[rows]
    if branch.label != LABEL_NONE:
        success = branch.label == LABEL_SUCCESS
    elif 'success' in log.custom_data:
        success = log.custom_data['success'].lower() in {'true', '1'}
    else:
        success = bool((progress > task.success_above).any())
    return Episode(
        task=task.name,
        session=log.custom_data.get('session', log.path.name),
        kind=log.custom_data.get('kind', 'session'),
        seed=log.tree.seeds.get(path[0].id, -1),
        frames=log.frames[rows],
        joints=log.joints[rows],
        scene=log.scene[rows],
        progress=progress,
        actions=log.actions[steps],
        sources=log.sources[steps],
        shadow=log.shadow[steps],
        phases=log.phases[steps],
        nodes=np.array([node.id for node in path], np.uint64),
        branch=branch.name,
        label=branch.label,
        success=success,
    )


def _index(rows: list[int]) -> slice | NDArray[np.intp]:
    """The rows as a slice where they are neighbours, so that frames are viewed and not copied."""
    if rows[-1] - rows[0] == len(rows) - 1 and all(
        later - earlier == 1 for earlier, later in pairwise(rows)
    ):
        return slice(rows[0], rows[-1] + 1)
    return np.array(rows, np.intp)
