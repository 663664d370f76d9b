# SPDX-License-Identifier: Apache-2.0
"""A camera over a simulated table: what the task's simulator shows where the arm's tool is.

For a physical arm, or one on an emulated bus, without a camera at hand. Every period the simulator
makes one step towards where the tool was measured last; it knows nothing of what is commanded. A
reset to a numbered start lays the scene out anew, as a person would. With a camera's file the table
is seen through that camera's lens and from its place, for `camera_adapter` to undo.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import sys
from typing import Any

from hiwm_msgs.msg import TreeEvent
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState

from hiwm_core import contract
from hiwm_core.backend import Observation, first_observation, next_observation
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.task import FloatArray, load_task
from hiwm_rig.base_node import declare, publisher, run_node, subscription
from hiwm_rig.conversion import camera_info_message, image_message
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_robot.camera.adapter_file import read_adapter_file
from hiwm_robot.camera.camera_message import info_message, info_topic
from hiwm_robot.camera.table_view import TableView
from hiwm_robot.dynamixel.arm_file import open_arm_file
from hiwm_robot.dynamixel.command_space import command_space
from hiwm_robot.sims import load_simulator

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'arm': Parameter('', "the arm's file; empty: the reference arm's"),
    'joints': Parameter('/dynamixel_arm/joint_states', "topic of the arm's measured joints"),
    'config': Parameter('', "a camera's file to look through; empty: the task's own frame"),
    'image_topic': Parameter(contract.IMAGE.name, 'where pictures go; their info beside them'),
    'seed': Parameter(0, 'which start of the task lies on the table at first', low=0),
}


class SimCameraNode(Node):
    """Publishes image and info at the task's rate."""

    def __init__(self) -> None:
        super().__init__('sim_camera')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        self._simulator = load_simulator(self._task)
        config = open_arm_file(values['arm'])
        self._names = config.names
        self._space = command_space(self._task, config)
        self._tool: FloatArray | None = None
        self._observation: Observation
        self._lay_out(values['seed'])
        self._view: TableView | None = None
        if values['config']:
            camera = read_adapter_file(Path(values['config']).expanduser())
            self._view = TableView(camera, self._task.camera)
        image, info = contract.IMAGE, contract.CAMERA_INFO
        beside = info_topic(values['image_topic'])
        self._image = publisher(self, replace(image, name=values['image_topic']))
        self._info = publisher(self, replace(info, name=beside))
        self.create_subscription(JointState, values['joints'], self._on_joints, 1)
        subscription(self, contract.RIG_TREE, self._on_tree)
        self.create_timer(self._task.period, self._show, clock=STEADY_CLOCK)

    def _lay_out(self, seed: int) -> None:
        """The start of a seed, but for the arm, which is where it is."""
        scene = self._task.start_scene(seed)
        if self._tool is not None:
            bodies = {body.name: body for body in self._task.bodies}
            place = dict(zip(self._task.action_names, self._tool, strict=True))
            for part in self._task.actuated:
                for joint, name in zip(part.joints, bodies[part.body].position, strict=True):
                    index = self._task.scene_index(name)
                    low, high = self._task.scene[index].low, self._task.scene[index].high
                    scene[index] = min(max(place[joint], low), high)
        self._observation = first_observation(self._simulator, scene, 0)

    def _on_joints(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=False))
        if all(name in by_name for name in self._names):
            angles = np.array([by_name[name] for name in self._names])
            self._tool = self._space.to_values(angles)

    def _on_tree(self, event: Any) -> None:
        if event.kind == TreeEvent.KIND_RESET and event.seed >= 0:
            self._lay_out(int(event.seed))

    def _show(self) -> None:
        if self._tool is not None:
            try:
                self._observation = next_observation(
                    self._simulator, self._observation, self._tool, 0
                )
            except HiwmError as error:
                self.get_logger().error(error.message, throttle_duration_sec=5.0)
        stamp = self.get_clock().now().to_msg()
        if self._view is None:
            self._image.publish(image_message(self._observation.frame, stamp))
            self._info.publish(camera_info_message(self._task.camera, stamp))
        else:
            self._image.publish(image_message(self._view.apply(self._observation.frame), stamp))
            self._info.publish(info_message(self._view.lens, stamp))


def main() -> None:
    """The executable `sim_camera`."""
    sys.exit(run_node(SimCameraNode))
