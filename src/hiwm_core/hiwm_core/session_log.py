# SPDX-License-Identifier: Apache-2.0
"""A session read back: its rollout tree, and what was seen and done at every node.

A session that went on after its recorder ended has several bags; they are read as one.
`session_gathering` says what belongs to a node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiwm_core.bag_reader import BagReader
from hiwm_core.contract import IMAGE, JOINT_STATES, RIG_EXECUTED, RIG_STATE
from hiwm_core.session_gathering import READ_TOPICS, Gathered, Gathering, unusable
from hiwm_core.session_tree import SessionTree
from hiwm_core.task import Task


@dataclass
class SessionLog:
    """A session's contents in arrays with one row for each node (N), by `LoggedNode.row`.

    Attributes:
        path: Its bag's folder; of several bags, the folder that they lie in.
        custom_data: What its writer said of it.
        tree: The rollout tree.
        frames: uint8 (N, H, W, 3); (0, H, W, 3) if it was read without them.
        has_frame: bool (N,); false where no image was recorded, or no joints with it.
        joints: float64 (N, J); NaN without a frame.
        scene: float64 (N, S), or (N, 0) if the rig knew nothing of the scene.
        progress: float64 (N,); NaN where unknown.
        success: float64 (N,), probability that the task is done; NaN where unknown.
        fidelity: float64 (N,), 0 to 1; NaN where unknown.
        actions: float64 (N, A), what led to each node; NaN for roots and where none was recorded.
        sources: uint8 (N,), Action.SOURCE_*.
        shadow: float64 (N, A), what the policy proposed for that step; NaN where nothing.
        spread: float64 (N,), of that proposal; NaN where unknown.
        phases: uint8 (N,), MuxState.PHASE_*; 0 unknown.
        triggers: uint8 (N,), MuxState.TRIGGER_* of an automatic pause that came after the step.
        human_seconds: float64 (N,), operator time since the step before; NaN where unknown.
        rig: RigState.rig.
        began: When its first message was received, ns since the Unix epoch.
        seconds: From its first message to its last, all bags together, pauses between them not.
        takeovers: How often an operator began to drive.
        human_time: Seconds of operator time; NaN where unknown.
        remarks: One sentence each on what is odd in it.
    """

    path: Path
    custom_data: dict[str, str]
    tree: SessionTree
    frames: NDArray[np.uint8]
    has_frame: NDArray[np.bool_]
    joints: NDArray[np.float64]
    scene: NDArray[np.float64]
    progress: NDArray[np.float64]
    success: NDArray[np.float64]
    fidelity: NDArray[np.float64]
    actions: NDArray[np.float64]
    sources: NDArray[np.uint8]
    shadow: NDArray[np.float64]
    spread: NDArray[np.float64]
    phases: NDArray[np.uint8]
    triggers: NDArray[np.uint8]
    human_seconds: NDArray[np.float64]
    rig: str
    began: int
    seconds: float
    takeovers: int
    human_time: float
    remarks: tuple[str, ...]

    def digest(self) -> str:
        """`frames_digest` of all nodes that have a frame."""
        return frames_digest(
            (node.id, self.frames[node.row])
            for node in self.tree.nodes.values()
            if self.has_frame[node.row]
        )


def frames_digest(frames: Iterable[tuple[int, NDArray[np.uint8]]]) -> str:
    """SHA-256 over node ids and their pixels (H, W, 3), in the order of the ids."""
    digest = hashlib.sha256()
    for node, frame in sorted(frames, key=lambda item: item[0]):
        digest.update(node.to_bytes(8, 'little'))
        digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def read_session(path: Path, task: Task, *, frames: bool = True) -> SessionLog:
    """Read one bag; see `read_bags`."""
    return read_bags([path], task, frames=frames)


def read_bags(paths: Sequence[Path], task: Task, *, frames: bool = True) -> SessionLog:
    """Read the bags of one session, in the order of their recording.

    Args:
        paths: The bags' folders.
        task: Whose names order the values; the bags must be of this task.
        frames: Whether images are wanted; without them it is ten times faster.

    Raises:
        HiwmError: STORAGE_FAULT, with the bag's path: damaged, of another task, without frames or
            executed actions, or of clocks so wrong that frames cannot be told apart.
    """
    path = paths[0] if len(paths) == 1 else paths[0].parent
    read = [topic for topic in READ_TOPICS if frames or topic not in {IMAGE, JOINT_STATES}]
    custom_data: dict[str, str] = {}
    with ExitStack() as opened:
        bags = [opened.enter_context(BagReader(each)) for each in paths]
        states = 0
        for bag in bags:
            states += _count_states(bag, task, frames)
            custom_data |= bag.custom_data
        gathering = Gathering(path, task, states, images=frames)
        for bag in bags:
            gathering.begin_bag()
            for name, data, received in bag.serialized(read):
                gathering.take(name, bag.decode(name, data), received)
    tree = gathering.tree
    if any(node.parent for node in tree.nodes.values()) and not gathering.executed:
        raise unusable(
            path, f'holds no action of {RIG_EXECUTED.name}, so nothing can be learned from it'
        )
    gathered = gathering.result()
    if frames and not gathered.has_frame.any():
        raise unusable(path, _why_no_frame(gathering))
    return SessionLog(
        path=path,
        custom_data=custom_data,
        tree=tree,
        rig=gathering.rig,
        began=gathering.began,
        seconds=gathering.seconds,
        takeovers=gathering.operators.takeovers,
        human_time=gathering.operators.human_time,
        remarks=tuple(gathering.remarks),
        **_fields(gathered),
    )


def check_usable(path: Path, task: Task, *, frames: bool = True) -> None:
    """Raises HiwmError if a bag is damaged, of another task, or lacks a topic; it is not read."""
    with BagReader(path) as bag:
        _count_states(bag, task, frames)


def _count_states(bag: BagReader, task: Task, frames: bool) -> int:
    """How many RIG_STATEs a bag holds. Raises HiwmError if it is of another task, or lacks one."""
    needed = (RIG_STATE, IMAGE, JOINT_STATES) if frames else (RIG_STATE,)
    named = bag.custom_data.get('task', task.name)
    if named != task.name:
        raise unusable(bag.path, f"is of task '{named}', not '{task.name}'")
    counts = bag.counts()
    for topic in needed:
        if not counts.get(topic.name):
            raise unusable(
                bag.path, f'holds no message of {topic.name}, without which no frame has a place'
            )
    return counts[RIG_STATE.name]


def _fields(gathered: Gathered) -> dict[str, NDArray]:
    return {name: getattr(gathered, name) for name in Gathered.__dataclass_fields__}


def _why_no_frame(gathering: Gathering) -> str:
    if not gathering.joint_states:
        return f'has no joint state that names all of {", ".join(gathering.task.joint_names)}'
    if not gathering.joined:
        return f'has no image with the stamp of a node in {RIG_STATE.name}'
    return f'has no node in {RIG_STATE.name}'
