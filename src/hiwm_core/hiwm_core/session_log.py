# SPDX-License-Identifier: Apache-2.0
"""One bag read back: the rollout tree of a session and what was seen and done at every node.

A node is found by its id in RIG_STATE; images and joint states belong to it by their stamp; the
action that led to it is the RIG_EXECUTED of the same stamp. The policy's own proposal for that step
is the POLICY_ACTION that answers the same epoch and step, and the phase is that of the newest
MUX_STATE when the multiplexer sent its ACTION for the step. Frames that a rig shows again after a
discontinuity bring no new nodes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import read_values
from hiwm_core.bag_reader import BagReader
from hiwm_core.contract import (
    ACTION,
    IMAGE,
    JOINT_STATES,
    MUX_STATE,
    POLICY_ACTION,
    RIG_EXECUTED,
    RIG_STATE,
    RIG_TREE,
)
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.session_tree import LoggedBranch, LoggedNode, SessionTree
from hiwm_core.task import Task

PHASE_UNKNOWN = 0
READ_TOPICS = (
    RIG_STATE,
    IMAGE,
    JOINT_STATES,
    RIG_EXECUTED,
    RIG_TREE,
    MUX_STATE,
    POLICY_ACTION,
    ACTION,
)
IMAGES_AHEAD = 64  # images kept until the state of their stamp comes; a camera may be the faster
EVENT_RESET, EVENT_BRANCH, EVENT_CHECKPOINT, EVENT_LABEL = 1, 3, 4, 5  # TreeEvent.KIND_*


@dataclass
class SessionLog:
    """A bag's contents in arrays with one row for each node (N), by `LoggedNode.row`.

    Attributes:
        path: The bag's folder.
        custom_data: What its writer said of it.
        tree: The rollout tree.
        frames: uint8 (N, H, W, 3).
        has_frame: bool (N,); false where no image was recorded.
        joints: float64 (N, J).
        scene: float64 (N, S), or (N, 0) if the rig knew nothing of the scene.
        progress: float64 (N,); NaN where unknown.
        actions: float64 (N, A), what led to each node; NaN for roots and where none was recorded.
        sources: uint8 (N,), Action.SOURCE_*.
        shadow: float64 (N, A), what the policy proposed for that step; NaN where nothing.
        phases: uint8 (N,), MuxState.PHASE_*; 0 unknown.
    """

    path: Path
    custom_data: dict[str, str]
    tree: SessionTree
    frames: NDArray[np.uint8]
    has_frame: NDArray[np.bool_]
    joints: NDArray[np.float64]
    scene: NDArray[np.float64]
    progress: NDArray[np.float64]
    actions: NDArray[np.float64]
    sources: NDArray[np.uint8]
    shadow: NDArray[np.float64]
    phases: NDArray[np.uint8]

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


def read_session(path: Path, task: Task) -> SessionLog:
    """Read one bag.

    Args:
        path: The bag's folder.
        task: Whose names order the values; the bag must be of this task.

    Raises:
        HiwmError: STORAGE_FAULT, with the bag's path: damaged, of another task, or without frames.
    """
    with BagReader(path) as bag:
        named = bag.custom_data.get('task', task.name)
        if named != task.name:
            raise _unusable(path, f"is of task '{named}', not '{task.name}'")
        counts = bag.counts()
        for topic in (RIG_STATE, IMAGE, JOINT_STATES):
            if not counts.get(topic.name):
                raise _unusable(
                    path, f'holds no message of {topic.name}, without which no frame has a place'
                )
        gathered = _Gathered(path, task, counts[RIG_STATE.name])
        for name, message in bag.messages(READ_TOPICS):
            gathered.take(name, message)
        return gathered.log(bag.custom_data)


class _Gathered:
    """What a bag holds, gathered in the order of receipt."""

    def __init__(self, path: Path, task: Task, states: int) -> None:
        self.path = path
        self.task = task
        self.tree = SessionTree()
        self.rows_by_stamp: dict[int, int] = {}
        self.frames = np.empty((states, *task.frame_shape), np.uint8)
        self.has_frame = np.zeros(states, np.bool_)
        self.waiting: OrderedDict[int, Any] = OrderedDict()
        self.progress: list[float] = []
        self.scenes: list[NDArray[np.float64]] = []
        self.executed: dict[int, tuple[NDArray[np.float64], int, tuple[int, int]]] = {}
        self.proposed: dict[tuple[int, int], NDArray[np.float64]] = {}
        self.sent: dict[tuple[int, int], int] = {}
        self.joint_stamps: list[int] = []
        self.joints: list[NDArray[np.float64]] = []
        self.phase_stamps: list[int] = []
        self.phases: list[int] = []
        self.roots: dict[int, int] = {}
        self._joint_columns = _Columns(task.joint_names)
        self._scene_columns = _Columns(task.scene_names)
        self._takers = {
            RIG_STATE.name: self._take_state,
            IMAGE.name: self._take_image,
            JOINT_STATES.name: self._take_joints,
            RIG_EXECUTED.name: self._take_executed,
            RIG_TREE.name: self._take_tree,
            MUX_STATE.name: self._take_mux,
            POLICY_ACTION.name: self._take_proposal,
            ACTION.name: self._take_sent,
        }

    def take(self, topic: str, message: Any) -> None:
        self._takers[topic](message)

    def _take_state(self, message: Any) -> None:
        node, parent, branch = int(message.node), int(message.parent), str(message.branch)
        if not node:
            return
        stamp = _nanoseconds(message.header.stamp)
        known = self.tree.nodes.get(node)
        row = len(self.tree.nodes) if known is None else known.row
        self.rows_by_stamp.setdefault(stamp, row)
        image = self.waiting.pop(stamp, None)
        if image is not None:
            self._place(image, row)
        if known is not None:
            return
        self.tree.nodes[node] = LoggedNode(
            node, parent, int(message.step), int(message.epoch), branch, stamp, row
        )
        root = self.roots[node] = self.roots.get(parent, node)
        known_branch = self.tree.branches.get(branch)
        fork = known_branch.fork if known_branch else parent
        label, note = (known_branch.label, known_branch.note) if known_branch else (0, '')
        self.tree.branches[branch] = LoggedBranch(branch, root, fork, node, label, note)
        self.progress.append(float(message.progress))
        self.scenes.append(self._scene_columns.order(message.scene_names, message.scene_values))

    def _take_image(self, message: Any) -> None:
        stamp = _nanoseconds(message.header.stamp)
        row = self.rows_by_stamp.get(stamp)
        if row is not None:
            self._place(message, row)
            return
        self.waiting[stamp] = message
        if len(self.waiting) > IMAGES_AHEAD:
            self.waiting.popitem(last=False)

    def _place(self, image: Any, row: int) -> None:
        if self.has_frame[row]:
            return
        height, width, _ = self.task.frame_shape
        if (image.height, image.width) != (height, width):
            raise _unusable(
                self.path,
                f'has images of {image.width}x{image.height} pixels; '
                f"task '{self.task.name}' has {width}x{height}",
            )
        size = height * image.step
        if image.encoding not in {'rgb8', 'bgr8'} or not 3 * width * height <= size <= len(
            image.data
        ):
            raise _unusable(self.path, f"has an image that is no whole rgb8 ('{image.encoding}')")
        pixels = image.data[:size].reshape(height, image.step)[:, : width * 3]
        pixels = pixels.reshape(height, width, 3)
        self.frames[row] = pixels if image.encoding == 'rgb8' else pixels[:, :, ::-1]
        self.has_frame[row] = True

    def _take_joints(self, message: Any) -> None:
        values = self._joint_columns.order(message.name, message.position)
        # Other devices may report joints of their own on the same topic.
        if values.size:
            self.joint_stamps.append(_nanoseconds(message.header.stamp))
            self.joints.append(values)

    def _take_executed(self, message: Any) -> None:
        values = self._values(message)
        if values is not None:
            answered = (int(message.epoch), int(message.observation_step))
            self.executed[_nanoseconds(message.header.stamp)] = (
                values,
                int(message.source),
                answered,
            )

    def _take_tree(self, message: Any) -> None:
        node, name = int(message.node), str(message.branch)
        if message.kind == EVENT_RESET:
            self.tree.seeds[node] = int(message.seed)
        elif message.kind == EVENT_BRANCH:
            root = self.roots.get(node, node)
            self.tree.branches.setdefault(name, LoggedBranch(name, root, node, node))
        elif message.kind == EVENT_CHECKPOINT:
            self.tree.checkpoints[str(message.name)] = node
        elif message.kind == EVENT_LABEL:
            # A label may come before the first state of its branch has been received.
            at = self.tree.branches.get(name) or LoggedBranch(name, node, 0, node)
            self.tree.branches[name] = LoggedBranch(
                name, at.root, at.fork, at.head, int(message.label), str(message.note)
            )

    def _take_mux(self, message: Any) -> None:
        self.phase_stamps.append(_nanoseconds(message.header.stamp))
        self.phases.append(int(message.phase))

    def _take_proposal(self, message: Any) -> None:
        values = self._values(message)
        if values is not None:
            self.proposed[int(message.epoch), int(message.observation_step)] = values

    def _take_sent(self, message: Any) -> None:
        answered = (int(message.epoch), int(message.observation_step))
        self.sent[answered] = _nanoseconds(message.header.stamp)

    def _values(self, message: Any) -> NDArray[np.float64] | None:
        """A recorded action's values (A,); None for one that every receiver rejects."""
        try:
            return read_values(self.task, message.names, message.values)
        except HiwmError:
            return None

    def log(self, custom_data: dict[str, str]) -> SessionLog:
        """The arrays. Raises HiwmError if no frame has a place."""
        tree, count = self.tree, len(self.tree.nodes)
        if not self.has_frame.any():
            raise _unusable(self.path, f'has no image with the stamp of a node in {RIG_STATE.name}')
        if not self.joints:
            wanted = ', '.join(self.task.joint_names)
            raise _unusable(self.path, f'has no joint state that names all of {wanted}')
        actions = np.full((count, len(self.task.actions)), math.nan)
        shadow = np.full_like(actions, math.nan)
        sources = np.zeros(count, np.uint8)
        phases = np.full(count, PHASE_UNKNOWN, np.uint8)
        phase_times = np.array(self.phase_stamps, np.int64)
        phase_order = np.argsort(phase_times, kind='stable')
        phase_times = phase_times[phase_order]
        for node in tree.nodes.values():
            executed = self.executed.get(node.stamp)
            if executed is None:
                continue
            values, source, answered = executed
            actions[node.row], sources[node.row] = values, source
            if answered in self.proposed:
                shadow[node.row] = self.proposed[answered]
            if len(phase_times):
                sent = self.sent.get(answered, node.stamp)
                newest = int(np.searchsorted(phase_times, sent, side='right')) - 1
                if newest >= 0:
                    phases[node.row] = self.phases[int(phase_order[newest])]
        known = [scene for scene in self.scenes if scene.size]
        width = len(self.task.scene) if known else 0
        scene = np.full((count, width), math.nan)
        for row, values in enumerate(self.scenes):
            if values.size:
                scene[row] = values
        return SessionLog(
            path=self.path,
            custom_data=custom_data,
            tree=tree,
            frames=self.frames[:count],
            has_frame=self.has_frame[:count],
            joints=self._joints_at([node.stamp for node in tree.nodes.values()]),
            scene=scene,
            progress=np.array(self.progress),
            actions=actions,
            sources=sources,
            shadow=shadow,
            phases=phases,
        )

    def _joints_at(self, stamps: Sequence[int]) -> NDArray[np.float64]:
        """The joint state of each stamp, else the newest before it (a robot has its own rate)."""
        times = np.array(self.joint_stamps, np.int64)
        order = np.argsort(times, kind='stable')
        places = np.searchsorted(times[order], np.array(stamps, np.int64), side='right') - 1
        return np.array(self.joints)[order[np.maximum(places, 0)]]


class _Columns:
    """Orders named values; the order found for one message serves all that name the same."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._given: Sequence[str] | None = None
        self._places: NDArray[np.intp] | None = None

    def order(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values in this order, float64 (n,); empty if one is missing."""
        if names != self._given:
            self._given = names
            complete = set(self._names) <= set(names)
            self._places = (
                np.array([list(names).index(name) for name in self._names], np.intp)
                if complete
                else None
            )
        if self._places is None or len(values) != len(names):
            return np.empty(0)
        return np.asarray(values, np.float64)[self._places]


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _unusable(path: Path, what: str) -> HiwmError:
    return HiwmError(f'the bag {path} {what}', ErrorCode.STORAGE_FAULT)
