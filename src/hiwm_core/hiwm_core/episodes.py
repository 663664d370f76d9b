# SPDX-License-Identifier: Apache-2.0
"""Episodes from bags: every path from a start to the end of a branch, ready to be learned from.

Needs neither ROS nor a network's library. A session with branches gives one episode a branch:
their common beginning is in each of them, and `Episode.nodes` tells which frames are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
import logging
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hiwm_core.bag_reader import find_all_bags
from hiwm_core.bag_recovery import BAG_NAME
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.session_gathering import OtherTreeError
from hiwm_core.session_log import SessionLog, check_usable, read_bags, read_session
from hiwm_core.session_tree import LoggedBranch, LoggedNode
from hiwm_core.task import Task

LOGGER = logging.getLogger(__name__)
LABEL_NONE, LABEL_SUCCESS = 0, 1  # Label.LABEL_*
T = TypeVar('T')


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
        spread: float64 (T,), how far the policy's own samples for that proposal lay apart, 1: the
            task's `max_step`; NaN where unknown.
        phases: uint8 (T,), MuxState.PHASE_* at the time; 0 unknown.
        triggers: uint8 (T,), MuxState.TRIGGER_* of an automatic pause that came after the step.
        human_seconds: float64 (T,), operator time since the step that the session made before this
            one, thinking included; NaN where unknown. Adds up over different steps, not over
            episodes, which share steps.
        fidelity: float64 (T+1,), how far each frame can be trusted, 0 to 1; NaN where unknown.
        epochs: uint32 (T+1,), the rig's epoch in which each frame was made.
        stamps: int64 (T+1,), of the frames, in nanoseconds.
        nodes: uint64 (T+1,), ids in the session's rollout tree.
        branch: The branch's name.
        parent: The branch that it left; empty if it began with a reset.
        fork: The frame at which it left; frames before are the parent's. 0 without a parent.
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
    spread: NDArray[np.float64]
    phases: NDArray[np.uint8]
    triggers: NDArray[np.uint8]
    human_seconds: NDArray[np.float64]
    fidelity: NDArray[np.float64]
    epochs: NDArray[np.uint32]
    stamps: NDArray[np.int64]
    nodes: NDArray[np.uint64]
    branch: str
    parent: str
    fork: int
    label: int
    success: bool

    @property
    def steps(self) -> int:
        """T."""
        return len(self.actions)

    @property
    def is_branch(self) -> bool:
        """Whether it left another branch; else it is an attempt from a start."""
        return bool(self.parent)


def read_episodes(path: Path | Sequence[Path], task: Task) -> Iterator[Episode]:
    """Every episode in a bag, or in all bags below folders, in the order of their paths.

    Only one session is held in memory at a time. Among several bags, one that is damaged or of
    another task is named in a warning and skipped, and so is a bag that is named twice.

    Args:
        path: A bag's folder, a folder with bags below it, or several of either.

    Raises:
        HiwmError: There is no bag, or the only one cannot be used; the sentence names its path.
    """
    for log in read_logs([path] if isinstance(path, Path) else path, task):
        yield from episodes_of(log, task)


def read_logs(paths: Iterable[Path], task: Task, *, frames: bool = True) -> Iterator[SessionLog]:
    """The sessions below folders, one after the other; see `read_episodes`.

    Args:
        frames: As in `read_bags`.
    """
    sessions = sessions_of(find_all_bags(paths))
    for bags in sessions:
        try:
            logs = _read_session(bags, task, frames=frames)
        except HiwmError as error:
            if len(sessions) == 1:
                raise
            LOGGER.warning('%s; it is skipped', error.message)
            continue
        for log in logs:
            for remark in log.remarks:
                LOGGER.warning('%s', remark)
            yield log


def sessions_of(bags: Iterable[Path]) -> list[list[Path]]:
    """The bags of each session: those that the recorder named `bag`, `bag-2`, ... go together."""
    sessions: dict[Path, list[Path]] = {}
    for bag in dict.fromkeys(bags):
        sessions.setdefault(bag.parent if BAG_NAME.fullmatch(bag.name) else bag, []).append(bag)
    return [sorted(session, key=_bag_number) for session in sessions.values()]


def _bag_number(bag: Path) -> int:
    number = bag.name.rpartition('-')[2]
    return int(number) if number.isdigit() else 1


def _read_session(bags: list[Path], task: Task, *, frames: bool) -> Iterable[SessionLog]:
    """A session; without the bags of it that cannot be used, which are named.

    Such as one without a frame: what a start leaves that was refused.

    Bags that are not of one tree, because the rig's journal was removed, are sessions of their own.
    """
    if len(bags) == 1:
        return [read_session(bags[0], task, frames=frames)]
    whole = [bag for bag, _ in _sound(bags, lambda bag: check_usable(bag, task, frames=frames))]
    if not whole:
        raise HiwmError(
            f'none of the {len(bags)} bags in {bags[0].parent} can be used',
            ErrorCode.STORAGE_FAULT,
        )
    try:
        return [read_bags(whole, task, frames=frames)]
    except OtherTreeError:
        apart = _sound(whole, lambda bag: read_session(bag, task, frames=frames))
        return (log for _, log in apart)


def _sound(bags: Iterable[Path], use: Callable[[Path], T]) -> Iterator[tuple[Path, T]]:
    """Every bag with what came of it; one that cannot be used is named and left out."""
    for bag in bags:
        try:
            yield bag, use(bag)
        except HiwmError as error:
            LOGGER.warning('%s; it is skipped', error.message)


def episodes_of(log: SessionLog, task: Task) -> Iterator[Episode]:
    """The episodes of one session: every leaf of the tree ends one, and so does every label."""
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
    nodes = np.array([node.id for node in path], np.uint64)
    left = log.tree.nodes.get(branch.fork)
    parent = left.branch if left is not None and left.branch != branch.name else ''
    fork = np.flatnonzero(nodes == branch.fork) if parent else np.empty(0, np.intp)
    return Episode(
        task=task.name,
        session=log.custom_data.get('session', log.path.name),
        kind=log.custom_data.get('kind', 'session'),
        seed=log.tree.seeds.get(path[0].id, -1),
        frames=log.frames[rows],
        joints=log.joints[rows],
        scene=log.scene[rows],
        progress=log.progress[rows],
        actions=log.actions[steps],
        sources=log.sources[steps],
        shadow=log.shadow[steps],
        spread=log.spread[steps],
        phases=log.phases[steps],
        triggers=log.triggers[steps],
        human_seconds=log.human_seconds[steps],
        fidelity=log.fidelity[rows],
        epochs=np.array([node.epoch for node in path], np.uint32),
        stamps=np.array([node.stamp for node in path], np.int64),
        nodes=nodes,
        branch=branch.name,
        parent=parent,
        fork=int(fork[0]) if fork.size else 0,
        label=branch.label,
        success=_succeeded(log, task, branch, path),
    )


def _succeeded(log: SessionLog, task: Task, branch: LoggedBranch, path: list[LoggedNode]) -> bool:
    if branch.label != LABEL_NONE:
        return branch.label == LABEL_SUCCESS
    if 'success' in log.custom_data:
        return log.custom_data['success'].lower() in {'true', '1'}
    return any(task.succeeded(log.progress[node.row], log.success[node.row]) for node in path)


def _index(rows: list[int]) -> slice | NDArray[np.intp]:
    """The rows as a slice where they are neighbours, so that frames are viewed and not copied."""
    if rows[-1] - rows[0] == len(rows) - 1 and all(
        later - earlier == 1 for earlier, later in pairwise(rows)
    ):
        return slice(rows[0], rows[-1] + 1)
    return np.array(rows, np.intp)
