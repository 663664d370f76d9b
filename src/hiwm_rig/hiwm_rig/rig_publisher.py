# SPDX-License-Identifier: Apache-2.0
"""What a rig publishes: frames with their states, the past after a discontinuity, tree events.

All messages of one frame carry the same stamp, and stamps only rise, whatever the clock does. Of a
frame's messages the state comes last, so that who has the state can have the rest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from hiwm_msgs.msg import RigState, TreeEvent

from hiwm_core import contract
from hiwm_core.action import Action
from hiwm_core.observation import Observation
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import Node
from hiwm_rig.base_node import publisher
from hiwm_rig.conversion import (
    action_message,
    camera_info_message,
    image_message,
    joint_message,
    time_message,
)
from hiwm_rig.diagnostics import Diagnostics
from hiwm_rig.pacing import Pacing

if TYPE_CHECKING:
    from rclpy.node import Node as RosNode


class RigPublisher:
    """The topics of one rig.

    Args:
        node: Owns the publishers.
        rig: Whose head, mode and counters are shown.
        name: `RigState.rig`.
        session: `RigState.session`.
        pacing: `RigState.pace`, `.advance` and `.speed`.
        diagnostics: Told of every frame.
    """

    def __init__(
        self,
        node: RosNode,
        rig: Rig,
        *,
        name: str,
        session: str,
        pacing: Pacing,
        diagnostics: Diagnostics,
    ) -> None:
        self._node = node
        self._rig = rig
        self._name = name
        self._session = session
        self._pacing = pacing
        self._diagnostics = diagnostics
        self._stamp_ns = 0
        self._last_shown = time.monotonic()
        self._image = publisher(node, contract.IMAGE)
        self._info = publisher(node, contract.CAMERA_INFO)
        self._joints = publisher(node, contract.JOINT_STATES)
        self._state = publisher(node, contract.RIG_STATE)
        self._executed = publisher(node, contract.RIG_EXECUTED)
        self._events = publisher(node, contract.RIG_TREE)
        # The same in every frame but for the stamp.
        self._camera = camera_info_message(rig.task.camera, time_message(0))

    @property
    def idle_time(self) -> float:
        """Seconds since the newest frame was published."""
        return time.monotonic() - self._last_shown

    def show(self, node: Node, *, executed: Action | None = None, context: bool = False) -> None:
        """Publish a node: image, info, joints, the action that led to it, and the state last."""
        task = self._rig.task
        observation = self._rig.tree.observation(node.id)
        stamp = time_message(self._next_stamp())
        self._image.publish(image_message(observation.frame, stamp))
        self._camera.header.stamp = stamp
        self._info.publish(self._camera)
        self._joints.publish(joint_message(task.joint_names, observation.joints, stamp))
        if executed is not None:
            self._executed.publish(action_message(task, executed, stamp))
        state = self._state_message(node, observation)
        state.header.stamp = stamp
        state.context = context
        self._state.publish(state)
        self._last_shown = time.monotonic()
        if not context:
            self._diagnostics.frame()

    def show_head(self) -> None:
        """Publish the head again, as it is now."""
        self.show(self._rig.head)

    def show_context(self, length: int) -> None:
        """Publish the newest `length` nodes of the head's path, under the epoch as it is now."""
        *past, head = self._rig.context_nodes(length)
        for node in past:
            self.show(node, context=True)
        self.show(head)

    def tell(self, kind: int, node: Node, branch: str, **fields: Any) -> None:
        """Publish a tree event."""
        event = TreeEvent()
        event.header.stamp = time_message(self._next_stamp())
        event.kind = kind
        event.epoch = self._rig.tree.epoch
        event.node = node.id
        event.branch = branch
        event.seed = -1
        for name, value in fields.items():
            setattr(event, name, value)
        self._events.publish(event)

    def destroy(self) -> None:
        """Take the topics off the graph."""
        for each in (
            self._image,
            self._info,
            self._joints,
            self._state,
            self._executed,
            self._events,
        ):
            self._node.destroy_publisher(each)

    def _next_stamp(self) -> int:
        """Nanoseconds of now, later than every stamp before."""
        self._stamp_ns = max(self._node.get_clock().now().nanoseconds, self._stamp_ns + 1)
        return self._stamp_ns

    def _state_message(self, node: Node, observation: Observation) -> RigState:
        rig = self._rig
        state = RigState()
        state.session = self._session
        state.task = rig.task.name
        state.rig = self._name
        state.epoch = rig.tree.epoch
        state.node = node.id
        state.parent = node.parent
        state.branch = rig.branch
        state.step = node.step
        state.mode = int(rig.mode)
        state.pace = int(self._pacing.pace)
        state.advance = int(self._pacing.advance)
        state.speed = self._pacing.speed
        state.tick_time = self._diagnostics.step_time
        state.period = rig.task.period
        state.can_pause = state.can_rollback = state.can_branch = state.can_set_pace = True
        state.progress = observation.progress
        state.success = observation.success
        state.fidelity = observation.fidelity
        if observation.scene.size:
            state.scene_names = list(rig.task.scene_names)
            state.scene_values = [float(value) for value in observation.scene]
        state.executed_actions = rig.executed_actions
        state.dropped_actions = rig.dropped_actions
        state.rejected_actions = rig.rejected_actions
        state.missed_deadlines = rig.missed_deadlines
        state.message = rig.message
        return state
