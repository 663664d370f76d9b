# SPDX-License-Identifier: Apache-2.0
"""What a rig publishes: frames with their states, the past after a discontinuity, tree events.

All messages of one frame carry the same stamp, and stamps only rise, whatever the clock does. Of a
frame's messages the state comes last, so that who has the state can have the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
import time
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time
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


@dataclass(frozen=True)
class Abilities:
    """What a rig can do: the fields `can_*` of `RigState`."""

    pause: bool = True
    rollback: bool = True
    branch: bool = True
    set_pace: bool = True


class RigPublisher:
    """The topics of one rig.

    Args:
        node: Owns the publishers.
        rig: Whose head, mode and counters are shown.
        name: `RigState.rig`.
        session: `RigState.session`.
        pacing: `RigState.pace`, `.advance` and `.speed`.
        diagnostics: Told of every frame.
        abilities: What the rig can do.
        camera: Whether image and info are the rig's own; a robot's camera publishes them itself.
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
        abilities: Abilities | None = None,
        camera: bool = True,
    ) -> None:
        self._node = node
        self._rig = rig
        self._name = name
        self._session = session
        self._pacing = pacing
        self._diagnostics = diagnostics
        self._abilities = abilities or Abilities()
        self._stamp_ns = 0
        self._last_shown = time.monotonic()
        self._image = publisher(node, contract.IMAGE) if camera else None
        self._info = publisher(node, contract.CAMERA_INFO) if camera else None
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
        observation = self._rig.tree.observation(node.id)
        stamp = time_message(self._next_stamp())
        if self._image is not None and self._info is not None:
            self._image.publish(image_message(observation.frame, stamp))
            self._camera.header.stamp = stamp
            self._info.publish(self._camera)
        self._show_at(stamp, node, observation, executed, context=context)

    def _show_at(
        self,
        stamp: Time,
        node: Node,
        observation: Observation,
        executed: Action | None,
        *,
        context: bool = False,
    ) -> None:
        """Publish the observed joints, the action that led to a node, and the state last."""
        task = self._rig.task
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
            if each is not None:
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
        state.can_pause, state.can_rollback = self._abilities.pause, self._abilities.rollback
        state.can_branch, state.can_set_pace = self._abilities.branch, self._abilities.set_pace
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
