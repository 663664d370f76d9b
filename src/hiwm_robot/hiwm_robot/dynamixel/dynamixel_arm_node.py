# SPDX-License-Identifier: Apache-2.0
"""The physical arm as a rig: servos on a bus, and a camera that is a node of its own.

The state and the joints carry the stamp of the camera's frame that they belong to. The arm's safety
is in `arm` and runs in a process of its own, whatever happens on the graph or in this node.
"""

from __future__ import annotations

import sys
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
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
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_file import arm_path, open_arm_file
from hiwm_robot.dynamixel.arm_order import OrderKind
from hiwm_robot.dynamixel.arm_process import ArmProcess
from hiwm_robot.dynamixel.servo_diagnostics import arm_statuses

PARAMETERS = {
    'arm': Parameter('', "the arm's file; empty: the reference arm's"),
    'port': Parameter('', "the serial port, if it is not the one in the arm's file"),
    'image_topic': Parameter(contract.IMAGE.name, "the camera's frames, of the task's size"),
    'camera_timeout': Parameter(
        0.5, 'how long no frame may come, s; five periods of the task at the least', low=0.1
    ),
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
LOOK = 0.1  # s between looks at what the arm says of itself


class DynamixelArmNode(RigNode):
    """See the module's text."""

    def __init__(self) -> None:
        super().__init__('dynamixel_arm', _no_backend, PARAMETERS)
        # The newest of the arm's sentences that /diagnostics has got.
        self._told = ''

    # -- what is made ----------------------------------------------------------------------------

    def _open_backend(self) -> None:
        config = open_arm_file(self._values['arm'], self._values['port'])
        _check(self._task, config)
        self._arm = ArmProcess(
            arm_path(self._values['arm']), config, self._task, dry_run=self._values['dry_run']
        )
        self._acquired.callback(self._close_arm)
        served = self._arm.start()
        dry = '; dry run, no torque' if self._values['dry_run'] else ''
        self.get_logger().info(
            f"arm '{config.name}' on {config.port}: {len(config.joints)} servos at "
            f'{config.rate:g} Hz, {served}{dry}'
        )

    def _close_arm(self) -> None:
        """What may still have torque is the last thing that a person has to know."""
        if left := self._arm.close():
            self.exit_code = 1
            self.get_logger().error(left)

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
            (LOOK, self._look_at_arm),
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
            camera_timeout=self._values['camera_timeout'],
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
        self._arm.call(OrderKind.ENABLE)
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
        if not self._arm.ended:
            self._arm.call(OrderKind.DISABLE)

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
        self._arm.call(OrderKind.RECOVER)

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
        array = DiagnosticArray(status=arm_statuses(self.get_name(), self._arm))
        array.header.stamp = self.get_clock().now().to_msg()
        self._servo_diagnostics.publish(array)

    def _look_at_arm(self) -> None:
        """What is new about the arm is told at once; without its loop the node says so and ends."""
        message = self._arm.message
        if message != self._told:
            self._told = message
            self._tell_servos()
        if self._active and (reason := self._arm.ended):
            self._halt(reason)


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
