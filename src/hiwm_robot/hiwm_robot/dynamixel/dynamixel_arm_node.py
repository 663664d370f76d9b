# SPDX-License-Identifier: Apache-2.0
"""The physical arm as a rig: servos on a bus, and a camera that is a node of its own.

The state and the joints carry the stamp of the camera's frame that they belong to. The arm's safety
is in `arm` and runs in a thread of this process whatever happens on the graph.
"""

from __future__ import annotations

import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import Image, JointState

from hiwm_core import contract
from hiwm_core.contract import Topic
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.task import Task
from hiwm_rig.base_node import publisher, run_node, subscription
from hiwm_rig.conversion import frame_of, nanoseconds_of
from hiwm_rig.emergency_stop import EmergencyStop
from hiwm_rig.live_publisher import LivePublisher
from hiwm_rig.live_stepper import LiveStepper
from hiwm_rig.rig_node import RigNode
from hiwm_rig.rig_publisher import Abilities, RigPublisher
from hiwm_robot.dynamixel.arm import Arm
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_file import open_arm_file
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.command_space import command_space
from hiwm_robot.dynamixel.control_loop import ControlLoop
from hiwm_robot.dynamixel.port import ServoPort
from hiwm_robot.dynamixel.servo_diagnostics import arm_statuses

PARAMETERS = {
    'arm': Parameter('', "the arm's file; empty: the reference arm's"),
    'port': Parameter('', "the serial port, if it is not the one in the arm's file"),
    'image_topic': Parameter(contract.IMAGE.name, "the camera's frames, of the task's size"),
    'dry_run': Parameter(False, 'everything but torque'),
    'reset_moves_arm': Parameter(
        False, "whether a reset moves the arm slowly to the start's place; keep hands away then"
    ),
    'joint_state_rate': Parameter(
        50.0, 'how often the joints of the arm are told, Hz', low=1.0, high=200.0
    ),
}
# Of the task's period: the arm's watchdog must outlast the time between two commands.
WATCHDOG_PERIODS = 1.5
STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)


class DynamixelArmNode(RigNode):
    """See the module's text."""

    def __init__(self) -> None:
        super().__init__('dynamixel_arm', _no_backend, PARAMETERS)

    # -- what is made ----------------------------------------------------------------------------

    def _open_backend(self) -> None:
        config = open_arm_file(self._values['arm'], self._values['port'])
        _check(self._task, config)
        bus = ServoBus(
            ServoPort(config.port, config.baud_rate),
            {joint.servo: joint.name for joint in config.joints},
        )
        self._arm = Arm(
            config,
            bus,
            command_space(self._task, config),
            period=self._task.period,
            dry_run=self._values['dry_run'],
        )
        self._loop = ControlLoop(self._arm)
        # Until the loop's thread has it, this one has.
        self._acquired.callback(self._end_loop)
        self._arm.connect()
        self._loop.start()
        self.get_logger().info(
            f"arm '{config.name}' on {config.port}: {len(config.joints)} servos at "
            f'{config.rate:g} Hz{"; dry run, no torque" if self._values["dry_run"] else ""}'
        )

    def _end_loop(self) -> None:
        self._loop.stop()
        self._arm.close()

    def _make_topics(self) -> RigPublisher:
        topics = LivePublisher(
            self,
            self._rig,
            name='dynamixel_arm',
            session=self._values['session'],
            pacing=self._pacing,
            diagnostics=self._diagnostics,
            abilities=Abilities(rollback=False, branch=False, set_pace=False),
            camera=False,
        )
        acquired = self._acquired
        stop = EmergencyStop(self, self._arm)
        acquired.callback(stop.destroy)
        self._servo_states = self.create_publisher(JointState, '~/joint_states', 10)
        acquired.callback(self.destroy_publisher, self._servo_states)
        self._servo_diagnostics = publisher(self, contract.DIAGNOSTICS)
        acquired.callback(self.destroy_publisher, self._servo_diagnostics)
        for period, act in (
            (1.0 / self._values['joint_state_rate'], self._tell_joints),
            (1.0, self._tell_servos),
        ):
            timer = self.create_timer(period, act, clock=STEADY_CLOCK)
            acquired.callback(self.destroy_timer, timer)
        return topics

    def _make_stepper(self) -> LiveStepper:
        topics = self._topics
        assert isinstance(topics, LivePublisher)
        image = Topic(self._values['image_topic'], contract.IMAGE.type, contract.IMAGE.quality)
        self._live = LiveStepper(
            rig=self._rig,
            arm=self._arm,
            pacing=self._pacing,
            topics=topics,
            camera=image.name,
            begin=self._begin_first,
            goes_to_start=self._values['reset_moves_arm'],
            repair=self._repair,
            report=self.get_logger().error,
        )
        frames = subscription(self, image, self._on_image)
        self._acquired.callback(self.destroy_subscription, frames)
        return self._live

    # -- life cycle ------------------------------------------------------------------------------

    def activate(self) -> None:
        self._loop.call(self._arm.enable)
        super().activate()

    def _begin_session(self) -> None:
        """Nothing yet: the session begins with the camera's first frame."""

    def _begin_first(self) -> None:
        seed = self._values['seed']
        if seed >= 0:
            self._reset(self._task.start_scene(seed), seed)
            if self._values['start'] == 'running':
                self._live.resume()

    def deactivate(self) -> None:
        super().deactivate()
        self._loop.call(self._arm.disable)

    # -- services that a physical rig answers in its own way -----------------------------------

    def _on_rollback(self, request: Any, response: Any) -> None:
        raise HiwmError('a physical rig cannot be rolled back; reset it', ErrorCode.NOT_SUPPORTED)

    def _on_branch(self, request: Any, response: Any) -> None:
        raise HiwmError(
            'a physical rig cannot be branched, for it cannot go back; reset it',
            ErrorCode.NOT_SUPPORTED,
        )

    def _repair(self) -> None:
        """Bring an arm with a fault back. Raises HiwmError if it does not come."""
        self._arm.recover()
        # A call is answered after the wishes of the turn before it, so two have seen it through.
        for _ in range(2):
            self._loop.call(lambda: None)
        if self._arm.faulty:
            raise HiwmError(self._arm.message, ErrorCode.NOT_READY)

    # -- the graph -------------------------------------------------------------------------------

    def _on_image(self, message: Image) -> None:
        try:
            frame = frame_of(message)
        except HiwmError as error:
            self.get_logger().error(error.message, throttle_duration_sec=5.0)
            return
        self._live.take_frame(frame, nanoseconds_of(message.header.stamp))

    def _tell_joints(self) -> None:
        measured = self._arm.measured
        if measured is None:
            return
        message = JointState(name=list(self._arm.config.names))
        message.header.stamp = self.get_clock().now().to_msg()
        message.position = [float(value) for value in measured.angles]
        message.velocity = [float(value) for value in measured.speeds]
        # The servos measure current, in A; the torque that it makes is not known.
        message.effort = [float(value) for value in np.nan_to_num(measured.currents)]
        self._servo_states.publish(message)

    def _tell_servos(self) -> None:
        array = DiagnosticArray(status=arm_statuses(self.get_name(), self._arm, self._loop))
        array.header.stamp = self.get_clock().now().to_msg()
        self._servo_diagnostics.publish(array)


def _no_backend(task: Task, values: dict[str, Any]) -> Any:
    raise AssertionError('a physical arm has no backend')


def _check(task: Task, config: ArmConfig) -> None:
    """Task and arm fit together. Raises ConfigurationError."""
    unmoved = [name for name in task.joint_names if name not in task.action_names]
    if unmoved:
        raise ConfigurationError(
            f"task '{task.name}' measures {', '.join(unmoved)}, which it does not command; "
            'this arm tells the joints that are commanded'
        )
    if config.limits.watchdog < WATCHDOG_PERIODS * task.period:
        raise ConfigurationError(
            f"task '{task.name}' commands every {task.period:g} s, but the arm holds after "
            f"{config.limits.watchdog:g} s without a command; raise safety.watchdog in the arm's "
            f'file to {WATCHDOG_PERIODS * task.period:g} s or more'
        )


def main() -> None:
    """The executable `dynamixel_arm`."""
    sys.exit(run_node(DynamixelArmNode))
