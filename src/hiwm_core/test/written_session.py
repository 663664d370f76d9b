# SPDX-License-Identifier: Apache-2.0
"""A session written as the nodes of a graph write it, with seeded noise for frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RigState, TreeEvent
import numpy as np
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

from hiwm_core.action import Action, Source
from hiwm_core.contract import (
    ACTION,
    IMAGE,
    JOINT_STATES,
    MUX_STATE,
    POLICY_ACTION,
    RECORDED_TOPICS,
    RIG_EXECUTED,
    RIG_STATE,
    RIG_TREE,
    Topic,
)
from hiwm_core.observation import Observation
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import Label, Node, RolloutTree
from hiwm_core.session_bag import SessionBag
from hiwm_core.task import Task

CONTEXT = 4
PERIOD = 100_000_000
FILE_BYTES = 200_000  # small enough that a session takes several files
HUMAN_SECONDS = 0.25  # that a step of the operator takes
PHASE_OF = {
    Source.POLICY: MuxState.PHASE_AUTONOMOUS,
    Source.OPERATOR: MuxState.PHASE_CORRECTING,
    Source.HANDOVER: MuxState.PHASE_HANDOVER,
    Source.HOLD: MuxState.PHASE_PAUSED,
}


class WrittenSession:
    """A rig with its tree, whose every step is written to a bag as the nodes of a session would.

    The bag is split into several files. Observations are seeded noise: a bag does not care what
    they show, and noise cannot be mixed up.
    """

    def __init__(self, folder: Path, task: Task, **custom_data: str) -> None:
        self.task = task
        self.tree = RolloutTree(folder / 'tree', seed=3)
        self.rig = Rig(task, self.tree)
        self.random = np.random.default_rng(11)
        self.now = 1_700_000_000_000_000_000
        self.path = folder / 'bag'
        self.shadow: dict[int, np.ndarray] = {}
        self.spread: dict[int, float] = {}
        self.phases: dict[int, int] = {}
        self.human_time = 0.0
        data = {'kind': 'session', 'task': task.name, 'session': 'synthetic', **custom_data}
        self.custom_data = data
        self.bag = SessionBag(self.path, RECORDED_TOPICS, data, max_file_bytes=FILE_BYTES)

    def go_on(self) -> None:
        """The recorder and the multiplexer are started anew: what follows is in another bag."""
        self.bag.close()
        self.human_time = 0.0
        self.path = self.path.with_name('bag-2')
        self.bag = SessionBag(self.path, RECORDED_TOPICS, self.custom_data)
        self.show_context()

    def write(self, topic: Topic, message: Any) -> None:
        self.bag.write(topic.name, serialize_message(message), self.now)
        self.now += 1_000

    def stamp(self) -> Time:
        return Time(sec=self.now // 10**9, nanosec=self.now % 10**9)

    def observe(self) -> Observation:
        task = self.task
        return Observation(
            frame=self.random.integers(0, 256, task.frame_shape, np.uint8),
            joints=self.random.uniform(0, 0.5, len(task.joints)),
            scene=self.random.uniform(0, 0.5, len(task.scene)),
            progress=float(self.random.uniform(0, 0.9)),
            success=float(self.random.uniform(0, 1)),
            fidelity=float(self.random.uniform(0, 1)),
        )

    def show(self, node: Node, *, context: bool = False) -> Time:
        """Publish a node, in an order that changes from frame to frame."""
        self.now += PERIOD
        stamp = self.stamp()
        seen = self.tree.observation(node.id)
        state = RigState(
            session='synthetic',
            task=self.task.name,
            epoch=self.tree.epoch,
            node=node.id,
            parent=node.parent,
            branch=self.rig.branch,
            step=node.step,
            context=context,
            mode=int(self.rig.mode),
            progress=seen.progress,
            success=seen.success,
            fidelity=seen.fidelity,
            rig='written',
            scene_names=list(self.task.scene_names),
            scene_values=seen.scene.tolist(),
        )
        image = Image(height=seen.frame.shape[0], width=seen.frame.shape[1], encoding='rgb8')
        image.step, image.data = image.width * 3, seen.frame.tobytes()
        # Backwards, to see that joints are matched by name.
        joints = JointState(
            name=list(self.task.joint_names)[::-1], position=seen.joints.tolist()[::-1]
        )
        parts = [(RIG_STATE, state), (IMAGE, image), (JOINT_STATES, joints)]
        for index in self.random.permutation(3):
            topic, message = parts[index]
            message.header.stamp = stamp
            self.write(topic, message)
        if not context:
            # The rig's state is sent again on every change of mode.
            self.write(RIG_STATE, state)
        return stamp

    def show_context(self) -> None:
        *past, head = self.rig.context_nodes(CONTEXT)
        for node in past:
            self.show(node, context=True)
        self.show(head)

    def event(self, kind: int, **fields: Any) -> None:
        self.write(RIG_TREE, TreeEvent(kind=kind, epoch=self.tree.epoch, **fields))

    def message(self, action: Action) -> ActionMessage:
        message = ActionMessage(
            source=int(action.source),
            names=list(self.task.action_names),
            values=action.values.tolist(),
            epoch=action.epoch,
            observation_step=action.step,
            spread=action.spread,
        )
        message.header.stamp = self.stamp()
        return message

    def reset(self, seed: int) -> None:
        node = self.rig.reset(self.observe(), key=seed)
        self.event(TreeEvent.KIND_RESET, node=node.id, branch=node.branch, seed=seed)
        self.show_context()

    def step(self, source: Source) -> Node:
        task, head = self.task, self.rig.head
        values = self.random.uniform(task.action_low, task.action_high)
        proposal = None
        if self.random.random() < 0.8:
            proposal = self.random.uniform(task.action_low, task.action_high)
            spread = float(self.random.uniform(0, 2))
            answer = Action(proposal, Source.POLICY, self.tree.epoch, head.step, spread=spread)
            self.write(POLICY_ACTION, self.message(answer))
        action = Action(values, source, self.tree.epoch, head.step)
        phase = PHASE_OF[source]
        if source in {Source.OPERATOR, Source.HANDOVER}:
            self.human_time += HUMAN_SECONDS
        self.write(MUX_STATE, self._mux_state(phase))
        self.write(ACTION, self.message(action))
        # A phase that begins while the rig computes does not count for the step under way.
        self.write(MUX_STATE, self._mux_state(MuxState.PHASE_PAUSED))
        self.rig.receive(action)
        request = self.rig.begin_step()
        node = self.rig.finish_step(request, self.observe())
        assert node is not None
        executed = self.message(request.action)
        executed.header.stamp = self.show(node)
        self.write(RIG_EXECUTED, executed)
        self.spread[node.id] = spread if proposal is not None else np.nan
        self.shadow[node.id] = proposal if proposal is not None else values * np.nan
        self.phases[node.id] = phase
        return node

    def trigger(self, trigger: int) -> None:
        """The multiplexer pauses by itself, and says so twice."""
        for _ in range(2):
            state = self._mux_state(MuxState.PHASE_PAUSED)
            state.trigger = trigger
            self.write(MUX_STATE, state)

    def _mux_state(self, phase: int) -> MuxState:
        state = MuxState(phase=phase, human_time=self.human_time)
        state.epoch, state.step = self.tree.epoch, max(0, self.rig.head.step - 1)
        state.header.stamp = self.stamp()
        return state

    def rollback(self, steps: int) -> None:
        before = self.rig.head
        node = self.rig.rollback(steps=steps)
        self.event(
            TreeEvent.KIND_ROLLBACK, node=node.id, from_node=before.id, branch=self.rig.branch
        )
        self.show_context()

    def fork(self, name: str) -> None:
        branch = self.rig.fork(name=name)
        self.event(TreeEvent.KIND_BRANCH, node=branch.fork, branch=name)
        self.show_context()

    def label(self, label: Label, note: str) -> None:
        branch = self.rig.label('', label, note)
        self.event(
            TreeEvent.KIND_LABEL,
            node=branch.head,
            branch=branch.name,
            label=int(label),
            note=note,
        )

    def checkpoint(self, name: str) -> None:
        node = self.rig.save_checkpoint(name)
        self.event(TreeEvent.KIND_CHECKPOINT, node=node.id, name=name, branch=self.rig.branch)
