# SPDX-License-Identifier: Apache-2.0
"""A leader arm as an operator's device: who holds its dead-man drives with it.

A thread reads the servos and lets them bear the arm's weight if it is to; all else happens in the
executor's thread. The arm has a position, so the multiplexer's file names the device `leader` with
the handover `passive`.
"""

from __future__ import annotations

import atexit
import functools
import getpass
import secrets
import sys
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray
from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from hiwm_core import contract
from hiwm_core.action import Action, Source, clip_values
from hiwm_core.contract import Quality
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.task import Task, load_task
from hiwm_rig import emergency_stop
from hiwm_rig.base_node import client, declare, profile_of, publisher, run_node, subscription
from hiwm_rig.conversion import action_message
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_file import LEADER, open_arm_file
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.command_space import GRIPPER, command_space
from hiwm_robot.dynamixel.gravity import GravityCompensation
from hiwm_robot.dynamixel.leader import STALE, GripperTrigger, HeldLevel, Leader
from hiwm_robot.dynamixel.leader_diagnostics import leader_statuses
from hiwm_robot.dynamixel.port import ServoPort

DEVICE = 'leader'
PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'arm': Parameter('', "the leader's file; empty: the reference leader's"),
    'port': Parameter('', "the serial port, if it is not the one in the leader's file"),
    'operator_id': Parameter('', 'who holds the leader; empty: the user and a number'),
    'deadman': Parameter(
        'gripper',
        'gripper: squeezing it drives; topic: true on `deadman_topic` drives, as from a pedal',
        choices=('gripper', 'topic'),
    ),
    'deadman_topic': Parameter('/operator/deadman', 'std_msgs/Bool, repeated while it is held'),
    'deadman_timeout': Parameter(0.3, 'how long the topic may be silent, in s', low=0.05, high=2.0),
    'squeezed_below': Parameter(
        0.5, 'opening of the gripper, 0 to 1, that counts as squeezed', low=0.05, high=0.8
    ),
    'takes_over': Parameter(True, 'ask for the wheel when the dead-man is pressed'),
    'gravity_compensation': Parameter(
        False, "let the servos bear the arm's own weight, as its file's `compensation` says"
    ),
}
SAMPLES_PER_PERIOD = 2
FREE = (MuxState.PHASE_AUTONOMOUS, MuxState.PHASE_PAUSED)
LONGEST_END = 5.0  # s
LOOK = 0.1  # s between looks at what the leader says of itself
TELL = 1.0  # s between diagnostics where nothing is new
# Where an emergency stop is told: by buttons, the console, and an arm's latch, also to late ears.
STOPS = {
    emergency_stop.TOPIC: Quality(reliable=False),
    emergency_stop.CONSOLE_TOPIC: Quality(reliable=False),
    emergency_stop.STATE_TOPIC: Quality(latched=True),
}
STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)


def check_gripper(task: Task, config: ArmConfig) -> None:
    """Whether the leader's gripper can be the dead-man. Raises ConfigurationError."""
    if config.gripper is None:
        raise ConfigurationError(
            f"the leader '{config.name}' has no gripper to squeeze; give its file one, or set "
            'deadman:=topic'
        )
    if {GRIPPER, config.gripper.joint} & set(task.action_names):
        raise ConfigurationError(
            f"the task '{task.name}' commands the gripper '{config.gripper.joint}', which cannot "
            'be the dead-man as well: to let a thing go would end the takeover; set deadman:=topic'
        )


class LeaderArmNode(Node):
    """Proposals on `/operator/action`, with the dead-man's level in each."""

    def __init__(self) -> None:
        super().__init__('leader_arm')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        config = open_arm_file(values['arm'], values['port'], LEADER)
        if values['deadman'] == 'gripper':
            check_gripper(self._task, config)
        self._operator_id = values['operator_id'] or f'{getpass.getuser()}-{secrets.token_hex(2)}'
        self._takes_over = values['takes_over']
        self._trigger = (
            GripperTrigger(values['squeezed_below']) if values['deadman'] == 'gripper' else None
        )
        self._pedal = HeldLevel(values['deadman_timeout'])
        self._rig: RigState | None = None
        self._phase = 0
        self._pressed = False
        self._seq = 0
        self._said = ''
        self._ended = threading.Event()
        bus = ServoBus(
            ServoPort(config.port, config.baud_rate),
            {joint.servo: joint.name for joint in config.joints},
        )
        bears = values['gravity_compensation']
        compensation = GravityCompensation(config) if bears else None
        self._leader = Leader(config, bus, command_space(self._task, config), compensation)
        self._leader.connect()
        self._period = 1.0 / config.rate
        self._actions = publisher(self, contract.OPERATOR_ACTION)
        self._takeover = client(self, contract.TAKEOVER)
        subscription(self, contract.RIG_STATE, self._on_rig)
        subscription(self, contract.MUX_STATE, self._on_mux)
        self.create_subscription(
            Bool, values['deadman_topic'], self._on_pedal, profile_of(contract.COMMAND)
        )
        self._stops = dict.fromkeys(STOPS, False)
        for topic, quality in STOPS.items():
            self.create_subscription(
                Bool, topic, functools.partial(self._on_stop, topic), profile_of(quality)
            )
        self._diagnostics = publisher(self, contract.DIAGNOSTICS)
        self.create_service(SetBool, '~/compensation', self._on_compensation)
        for period, act in (
            (self._task.period / SAMPLES_PER_PERIOD, self._sample),
            (LOOK, self._look),
            (TELL, self._tell),
        ):
            self.create_timer(period, act, clock=STEADY_CLOCK)
        self._told = (self._leader.phase, '')
        self.get_logger().info(
            f"leader '{config.name}' on {config.port}, held by '{self._operator_id}'"
        )
        if bears:
            self._leader.bear(True)
        self._reader = threading.Thread(target=self._read, name='leader', daemon=True)
        # However the process ends, if it can still do anything.
        atexit.register(self._let_go)
        self._reader.start()

    def destroy_node(self) -> None:
        """Torque off and the port closed, before anything else goes."""
        self._let_go()
        super().destroy_node()

    def _let_go(self) -> None:
        if hasattr(self, '_reader') and self._reader.ident is not None:
            self._ended.set()
            self._reader.join(LONGEST_END)

    def _read(self) -> None:
        """In the thread, to which the servos belong."""
        due = time.monotonic()
        try:
            while not self._ended.is_set():
                self._leader.read()
                due = max(due + self._period, time.monotonic())
                self._ended.wait(due - time.monotonic())
        except Exception as error:
            self._leader.sentence = f'the leader is read no more: {error!r}; start it again'
        finally:
            self._leader.close()

    # -- the graph -------------------------------------------------------------------------------

    def _on_rig(self, message: RigState) -> None:
        if not message.context:
            new = self._rig is None or (message.epoch, message.step) != (
                self._rig.epoch,
                self._rig.step,
            )
            self._rig = message
            if new:
                self._sample()

    def _on_mux(self, message: MuxState) -> None:
        self._phase = int(message.phase)

    def _on_pedal(self, message: Bool) -> None:
        self._pedal.take(bool(message.data))

    def _on_stop(self, topic: str, message: Bool) -> None:
        self._stops[topic] = bool(message.data)
        self._leader.stop(any(self._stops.values()))

    def _sample(self) -> None:
        """Tell where the leader is and whether its dead-man is pressed."""
        pose = self._leader.pose
        if pose is None:
            sentence = self._leader.sentence or f'the leader was not read for {STALE:g} s'
            if sentence != self._said:
                self._said = sentence
                self.get_logger().error(sentence)
            # Lost samples are a release.
            self._pressed = False
            return
        self._said = ''
        pressed = (
            self._trigger.level(pose.opening) if self._trigger is not None else self._pedal.level()
        )
        if pressed and not self._pressed and self._takes_over and self._phase in FREE:
            self._ask()
        self._pressed = pressed
        if self._rig is None:
            return
        self._seq += 1
        action = Action(
            clip_values(self._task, pose.values),
            Source.OPERATOR,
            int(self._rig.epoch),
            int(self._rig.step),
            DEVICE,
            self._seq,
            deadman=pressed,
        )
        stamp = self.get_clock().now().to_msg()
        self._actions.publish(action_message(self._task, action, stamp))

    def _look(self) -> None:
        """What is new about what bears the leader is told at once."""
        seen = (self._leader.phase, self._leader.message)
        if seen == self._told:
            return
        self._told = seen
        phase, message = seen
        if message:
            self.get_logger().error(message)
        else:
            self.get_logger().info(f'the leader is {phase.value}')
        self._tell()

    def _tell(self) -> None:
        array = DiagnosticArray(status=leader_statuses(self.get_name(), self._leader))
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def _on_compensation(
        self, request: SetBool.Request, response: SetBool.Response
    ) -> SetBool.Response:
        on = bool(request.data)
        try:
            self._leader.bear(on)
        except HiwmError as error:
            response.success, response.message = False, error.message
        else:
            response.success = True
            response.message = '' if on else 'hold the leader: its servos let go'
        return response

    def _ask(self) -> None:
        if not self._takeover.service_is_ready():
            self.get_logger().warning(
                f'{contract.TAKEOVER.name} is not available; is the multiplexer running?'
            )
            return
        request = Takeover.Request(
            event=Takeover.Request.EVENT_TAKE_OVER, operator_id=self._operator_id
        )
        self._takeover.call_async(request).add_done_callback(self._on_answer)

    def _on_answer(self, future: Future) -> None:
        response = future.result()
        if response is not None and not response.success:
            self.get_logger().warning(response.message)


def main() -> None:
    """The executable `leader_arm`."""
    sys.exit(run_node(LeaderArmNode))
