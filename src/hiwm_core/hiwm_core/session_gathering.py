# SPDX-License-Identifier: Apache-2.0
"""What a session's messages say of each node of its rollout tree.

A node is found by its id in RIG_STATE; which image and joints belong to it, `alignment` decides.
The action that led to it is the RIG_EXECUTED of the same stamp. The policy's own proposal for that
step is the POLICY_ACTION that answers the same epoch and step, and the phase is that of the newest
MUX_STATE when the multiplexer sent its ACTION for the step. Frames that a rig shows again after a
discontinuity, or while it stands still, bring no new nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import read_values
from hiwm_core.alignment import FrameJoin, JoinedFrame, pixels_of
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
from hiwm_core.operator_log import OperatorLog
from hiwm_core.session_tree import LoggedBranch, LoggedNode, SessionTree
from hiwm_core.task import Task

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
EVENT_RESET, EVENT_BRANCH, EVENT_CHECKPOINT, EVENT_LABEL = 1, 3, 4, 5  # TreeEvent.KIND_*
# Frames beyond this lie in an unnamed file, which the system keeps in memory as far as it can.
MOST_FRAME_BYTES = 2_000_000_000
# Stamps go back, or drift apart from the times of receipt, by more than this: a clock was set.
CLOCK_JUMP = 1.0  # s


class OtherTreeError(HiwmError):
    """Messages of two rollout trees that have nothing to do with each other."""


Step = tuple[int, int]  # epoch and step that an action answers


@dataclass
class Gathered:
    """Arrays with one row for each node; see `SessionLog`."""

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


@dataclass(frozen=True, slots=True)
class _Executed:
    """What led to a node, and which step it answered."""

    values: NDArray[np.float64]
    source: int
    answered: Step


class Gathering:
    """Takes a session's messages in the order of receipt.

    Args:
        path: Of the session, for sentences.
        task: Whose names order the values.
        most_nodes: No more than this come.
        images: Whether images are wanted; else there are no frames and no joints.

    Attributes:
        tree: The rollout tree so far.
        executed: By the stamp of the frame that they led to.
        rig: RigState.rig.
        began: When the first message was received, ns.
        seconds: From the first message to the last of each bag, together.
        operators: What the multiplexer said.
        joint_states: That named all of the task's joints.
        joined: Frames of which all parts were there.
        remarks: What is odd.
    """

    def __init__(self, path: Path, task: Task, most_nodes: int, *, images: bool = True) -> None:
        self.path, self.task = path, task
        self.tree = SessionTree()
        self.executed: dict[int, _Executed] = {}
        self.rig = ''
        self.began = 0
        self.seconds = 0.0
        self.operators = OperatorLog()
        self.joint_states = self.joined = 0
        self.remarks: list[str] = []
        self._frames = _frame_store((most_nodes if images else 0, *task.frame_shape))
        self._has_frame = np.zeros(most_nodes, np.bool_)
        self._joints = np.full((most_nodes, len(task.joints)), math.nan)
        self._readings: list[tuple[float, float, float]] = []
        self._scenes: list[NDArray[np.float64]] = []
        self._proposed: dict[Step, tuple[NDArray[np.float64], float]] = {}
        self._sent: dict[Step, int] = {}
        self._roots: dict[int, int] = {}
        self._stamps: dict[int, int] = {}
        self._joint_columns = Columns(task.joint_names)
        self._scene_columns = Columns(task.scene_names)
        self._takers = {
            RIG_STATE.name: self._take_state,
            IMAGE.name: self._take_image,
            JOINT_STATES.name: self._take_joints,
            RIG_EXECUTED.name: self._take_executed,
            RIG_TREE.name: self._take_tree,
            MUX_STATE.name: self.operators.take,
            POLICY_ACTION.name: self._take_proposal,
            ACTION.name: self._take_sent,
        }
        self.begin_bag()

    def begin_bag(self) -> None:
        """What comes now is of another bag: of the same tree, from a rig that was started anew."""
        self._join = FrameJoin(self.task.period)
        self._newest_stamp = self._received = self._bag_began = 0
        self._seconds_before = self.seconds
        self.operators.begin_bag()

    def take(self, topic: str, message: Any, received: int) -> None:
        """A message, received at `received` (ns since the Unix epoch). Raises HiwmError."""
        if not self._bag_began:
            self._bag_began = received
            self.began = self.began or received
        self.seconds = max(self.seconds, self._seconds_before + (received - self._bag_began) / 1e9)
        if topic == RIG_STATE.name:
            self._watch_clock(nanoseconds(message.header.stamp), received, int(message.step))
        self._takers[topic](message)

    def _watch_clock(self, stamp: int, received: int, step: int) -> None:
        if self._newest_stamp:
            moved = (stamp - self._newest_stamp) / 1e9
            passed = (received - self._received) / 1e9
            jump = moved if moved < -CLOCK_JUMP else moved - passed
            if abs(jump) > CLOCK_JUMP:
                self.remarks.append(
                    f'a clock of {self.path} jumps by {jump:+.3g} s at step {step}; '
                    'who drove may be off by a step there'
                )
        self._newest_stamp, self._received = stamp, received

    def _take_state(self, message: Any) -> None:
        node, parent, branch = int(message.node), int(message.parent), str(message.branch)
        if not node:
            return
        stamp = nanoseconds(message.header.stamp)
        known = self.tree.nodes.get(node)
        if known is None:
            self._add(node, parent, branch, stamp, message)
        elif (known.parent, known.step) != (parent, int(message.step)):
            raise self._other_tree(node)
        other = self._stamps.setdefault(stamp, node)
        if other != node:
            raise unusable(
                self.path,
                f'has one stamp for the nodes {other} and {node}: a clock jumped back, '
                'and their frames cannot be told apart',
            )
        self._place(self._join.state(stamp, message))

    def _other_tree(self, node: int) -> OtherTreeError:
        return OtherTreeError(
            f'the bag {self.path} calls two different frames node {node}: '
            'its rig was started anew without its tree',
            ErrorCode.STORAGE_FAULT,
        )

    def _add(self, node: int, parent: int, branch: str, stamp: int, message: Any) -> None:
        row = len(self.tree.nodes)
        self.tree.nodes[node] = LoggedNode(
            node, parent, int(message.step), int(message.epoch), branch, stamp, row
        )
        self.rig = str(message.rig)
        root = self._roots[node] = self._roots.get(parent, node)
        known = self.tree.branches.get(branch)
        fork = known.fork if known else parent
        label, note = (known.label, known.note) if known else (0, '')
        # Ids rise in the order of making, in which a clock that jumped may not have been recorded.
        head = max(known.head, node) if known and known.head in self.tree.nodes else node
        self.tree.branches[branch] = LoggedBranch(branch, root, fork, head, label, note)
        self._readings.append(
            (float(message.progress), float(message.success), float(message.fidelity))
        )
        self._scenes.append(self._scene_columns.order(message.scene_names, message.scene_values))

    def _take_image(self, message: Any) -> None:
        self._place(self._join.image(nanoseconds(message.header.stamp), message))

    def _take_joints(self, message: Any) -> None:
        # Other devices may report joints of their own on the same topic.
        if self._joint_columns.names_all(message.name):
            self.joint_states += 1
            self._place(self._join.joints(nanoseconds(message.header.stamp), message))

    def _place(self, frames: list[JoinedFrame]) -> None:
        """Put frames into the rows of their nodes; the first of a node counts."""
        for frame in frames:
            self.joined += 1
            node = self.tree.nodes.get(int(frame.state.node))
            if node is None or self._has_frame[node.row]:
                continue
            joints = self._joint_columns.order(frame.joints.name, frame.joints.position)
            if not np.isfinite(joints).all():
                continue
            self._frames[node.row] = self._pixels(frame.image)
            self._joints[node.row] = joints
            self._has_frame[node.row] = True

    def _pixels(self, image: Any) -> NDArray[np.uint8]:
        height, width, _ = self.task.frame_shape
        if (image.height, image.width) != (height, width):
            raise unusable(
                self.path,
                f'has images of {image.width}x{image.height} pixels; '
                f"task '{self.task.name}' has {width}x{height}",
            )
        try:
            return pixels_of(image.encoding, height, width, image.step, image.data)
        except HiwmError as error:
            raise unusable(self.path, f'cannot be used: {error.message}') from error

    def _take_executed(self, message: Any) -> None:
        values = self._values(message)
        if values is not None:
            self.executed[nanoseconds(message.header.stamp)] = _Executed(
                values, int(message.source), _answered(message)
            )

    def _take_tree(self, message: Any) -> None:
        node, name = int(message.node), str(message.branch)
        if message.kind == EVENT_RESET:
            # A later recorder hears the same event again.
            if self.tree.seeds.setdefault(node, int(message.seed)) != int(message.seed):
                raise self._other_tree(node)
        elif message.kind == EVENT_BRANCH:
            root = self._roots.get(node, node)
            self.tree.branches.setdefault(name, LoggedBranch(name, root, node, node))
        elif message.kind == EVENT_CHECKPOINT:
            self.tree.checkpoints[str(message.name)] = node
        elif message.kind == EVENT_LABEL:
            # A label may come before the first state of its branch has been received.
            at = self.tree.branches.get(name) or LoggedBranch(name, node, 0, node)
            self.tree.branches[name] = LoggedBranch(
                name, at.root, at.fork, at.head, int(message.label), str(message.note)
            )

    def _take_proposal(self, message: Any) -> None:
        values = self._values(message)
        if values is not None:
            # Bags of the first version have no spread.
            spread = float(getattr(message, 'spread', math.nan))
            self._proposed[_answered(message)] = (values, spread)

    def _take_sent(self, message: Any) -> None:
        self._sent[_answered(message)] = nanoseconds(message.header.stamp)

    def _values(self, message: Any) -> NDArray[np.float64] | None:
        """A recorded action's values (A,); None for one that every receiver rejects."""
        try:
            return read_values(self.task, message.names, message.values)
        except HiwmError:
            return None

    def _check_one_tree(self) -> None:
        """Raises OtherTreeError if a node was made twice.

        An action has the stamp of the frame that it led to, and nothing leads to a frame that is
        shown again.
        """
        for stamp in self.executed:
            node = self._stamps.get(stamp)
            if node is not None and self.tree.nodes[node].stamp != stamp:
                raise self._other_tree(node)

    def result(self) -> Gathered:
        """The arrays. Raises OtherTreeError."""
        self._check_one_tree()
        count, width = len(self.tree.nodes), len(self.task.actions)
        actions, shadow = np.full((2, count, width), math.nan)
        spread = np.full(count, math.nan)
        sources = np.zeros(count, np.uint8)
        sent = np.zeros(count, np.int64)
        answered: list[Step | None] = [None] * count
        for node in self.tree.nodes.values():
            executed = self.executed.get(node.stamp)
            if executed is None:
                continue
            row, step = node.row, executed.answered
            actions[row], sources[row], answered[row] = executed.values, executed.source, step
            if step in self._proposed:
                shadow[row], spread[row] = self._proposed[step]
            sent[row] = self._sent.get(step, node.stamp)
        readings = np.array(self._readings).reshape(-1, 3)
        framed = len(self._has_frame) > 0
        return Gathered(
            frames=self._frames[:count],
            has_frame=self._has_frame[:count] if framed else np.zeros(count, np.bool_),
            joints=self._joints[:count]
            if framed
            else np.full((count, len(self.task.joints)), math.nan),
            scene=self._scene(),
            progress=readings[:, 0],
            success=readings[:, 1],
            fidelity=readings[:, 2],
            actions=actions,
            sources=sources,
            shadow=shadow,
            spread=spread,
            phases=self.operators.phases(sent),
            triggers=self.operators.triggers(answered),
            human_seconds=self.operators.human_seconds(sent),
        )

    def _scene(self) -> NDArray[np.float64]:
        known = any(scene.size for scene in self._scenes)
        scene = np.full((len(self._scenes), len(self.task.scene) if known else 0), math.nan)
        for row, values in enumerate(self._scenes):
            if values.size:
                scene[row] = values
        return scene


class Columns:
    """Orders named values; the order found for one message serves all that name the same."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._given: Sequence[str] | None = None
        self._places: NDArray[np.intp] | None = None

    def names_all(self, names: Sequence[str]) -> bool:
        """Whether each of these is among the names."""
        if names != self._given:
            self._given = names
            complete = set(self._names) <= set(names)
            self._places = (
                np.array([list(names).index(name) for name in self._names], np.intp)
                if complete
                else None
            )
        return self._places is not None

    def order(self, names: Sequence[str], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The values in this order, float64 (n,); empty if one is missing."""
        if not self.names_all(names) or len(values) != len(names):
            return np.empty(0)
        return np.asarray(values, np.float64)[self._places]


def _frame_store(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array that takes room only as it is filled."""
    if math.prod(shape) <= MOST_FRAME_BYTES:
        return np.empty(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, 'w+', shape=shape)


def _answered(message: Any) -> Step:
    return (int(message.epoch), int(message.observation_step))


def nanoseconds(stamp: Any) -> int:
    """Of a message's stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def unusable(path: Path, what: str) -> HiwmError:
    """The refusal of a bag or a session."""
    return HiwmError(f'the bag {path} {what}', ErrorCode.STORAGE_FAULT)
