# SPDX-License-Identifier: Apache-2.0
"""The multiplexer on the graph: messages to `Multiplexer` and back, and the rig's pause and resume.

Everything happens in the one executor thread and nothing blocks: the rig is asked with call_async,
and a timer on the steady clock asks the multiplexer when no message comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
import sys
from typing import Any

from ament_index_python.packages import get_package_share_directory
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RecorderState, RigState
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import load_task
from hiwm_intervention.action_mux import Multiplexer
from hiwm_intervention.mux_status import MuxStatus
from hiwm_intervention.rig_mode import Command, RigView
from hiwm_intervention.sources import read_settings
from hiwm_intervention.takeover import REQUESTS, Event
from hiwm_rig.base_node import client, declare, profile_of, publisher, run_node, serve, subscription
from hiwm_rig.conversion import action_message, action_of, joints_of

STATE_PERIOD = 1.0  # s, at the longest
TICKS_PER_STEP = 10
LONGEST_TICK = 0.02  # s

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'config': Parameter('', "file with sources and locks; empty: this package's action_mux.yaml"),
    'autonomous_at_start': Parameter(
        True, 'give the wheel to the policy as soon as it and the rig are there'
    ),
    'wait_for_recorder': Parameter(False, 'do so only once the recorder says that it records'),
    'handover_timeout': Parameter(
        5.0, 'how long a takeover waits for the dead-man to be pressed, in s', low=0.1, high=600.0
    ),
    'rig_timeout': Parameter(
        0.5,
        'how long a rig in realtime may show nothing new before hold is repeated, in s',
        low=0.05,
        high=60.0,
    ),
}


class ActionMuxNode(Node):
    """Who drives: `/policy/action` and the operators' devices in, `/action` out."""

    def __init__(self) -> None:
        super().__init__('action_mux')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        share = Path(get_package_share_directory('hiwm_intervention'))
        config = Path(values['config'] or share / 'config' / 'action_mux.yaml')
        settings = read_settings(config)
        self._mux = Multiplexer(
            self._task,
            settings,
            autonomous_at_start=values['autonomous_at_start'],
            wait_for_recorder=values['wait_for_recorder'],
            handover_timeout=values['handover_timeout'],
            rig_timeout=values['rig_timeout'],
        )
        self._told: MuxStatus | None = None
        self._action = publisher(self, contract.ACTION)
        self._state = publisher(self, contract.MUX_STATE)
        self._rig_services = {
            Command.PAUSE: client(self, contract.PAUSE),
            Command.RESUME: client(self, contract.RESUME),
        }
        # The joints come before the state of the same frame; the executor keeps this order.
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        for source in settings.sources.values():
            topic = contract.Topic(source.topic, contract.ACTION.type, contract.COMMAND)
            subscription(self, topic, partial(self._on_proposal, source.name))
        subscription(self, contract.RIG_STATE, self._on_rig)
        subscription(self, contract.RECORDER_STATE, self._on_recorder)
        for lock in settings.locks.values():
            self.create_subscription(
                Bool,
                lock.topic,
                self._lock_taker(lock.name),
                profile_of(contract.COMMAND),
            )
        serve(self, contract.TAKEOVER, self._on_takeover)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        tick = min(self._task.period / TICKS_PER_STEP, LONGEST_TICK)
        self.create_timer(tick, self._act, clock=steady)
        self.create_timer(STATE_PERIOD, self._tell, clock=steady)
        self._tell()
        self.get_logger().info(
            f'sources: {", ".join(settings.sources)}; locks: {", ".join(settings.locks) or "none"}'
        )

    # -- what comes in ---------------------------------------------------------------------------

    def _on_recorder(self, message: RecorderState) -> None:
        self._mux.set_recording(bool(message.recording))

    def _on_rig(self, message: RigState) -> None:
        try:
            view = RigView(
                epoch=int(message.epoch),
                step=int(message.step),
                mode=Mode(message.mode),
                pace=Pace(message.pace),
                period=float(message.period),
                can_pause=bool(message.can_pause),
                message=str(message.message),
            )
        except ValueError as error:
            self._warn(f'{contract.RIG_STATE.name} cannot be used: {error}')
            return
        if message.task != self._task.name:
            self._warn(
                f"the rig does task '{message.task}', not '{self._task.name}'; it is ignored"
            )
            return
        # The past that is shown again after a discontinuity is nothing to answer.
        if not message.context:
            self._mux.observe(view)
            self._act()

    def _on_joints(self, message: JointState) -> None:
        try:
            self._mux.measure(joints_of(self._task, message))
        except HiwmError as error:
            self._warn(error.message)

    def _on_executed(self, message: ActionMessage) -> None:
        try:
            self._mux.executed(action_of(self._task, message))
        except HiwmError as error:
            self._warn(f'{contract.RIG_EXECUTED.name}: {error.message}')

    def _on_proposal(self, name: str, message: ActionMessage) -> None:
        proposal = Action(
            values=self._task.action_low,
            source=Source.NONE,
            epoch=int(message.epoch),
            step=int(message.observation_step),
            device=str(message.device),
            seq=int(message.seq),
            deadman=bool(message.deadman),
        )
        try:
            self._mux.propose(name, message.names, message.values, proposal)
        except HiwmError as error:
            self._warn(f'rejected an action: {error.message}')
        self._act()

    def _lock_taker(self, name: str) -> Callable[[Bool], None]:
        def take(message: Bool) -> None:
            self._mux.set_lock(name, bool(message.data))
            self._act()

        return take

    def _on_takeover(self, request: Any, response: Any) -> None:
        response.phase = int(self._mux.takeover.phase)
        if request.event not in REQUESTS:
            known = ', '.join(f'{int(event)} {event.name.lower()}' for event in sorted(REQUESTS))
            raise HiwmError(f'there is no event {request.event}; the events are: {known}')
        response.phase = int(self._mux.request(Event(request.event), str(request.operator_id)))
        self._act()

    # -- what goes out ---------------------------------------------------------------------------

    def _act(self) -> None:
        """Send what is due; who drives is told before the action that follows from it."""
        action = self._mux.poll()
        command = self._mux.next_command()
        if command is not None:
            self._ask(command)
        if self._has_changed():
            self._tell()
        if action is not None:
            stamp = self.get_clock().now().to_msg()
            self._action.publish(action_message(self._task, action, stamp))

    def _has_changed(self) -> bool:
        new, old = self._mux.status(), self._told
        return old is None or any(
            getattr(new, name) != getattr(old, name)
            for name in (
                'phase',
                'source',
                'operator_id',
                'device',
                'holding',
                'reason',
                'epoch',
                'rejected_actions',
            )
        )

    def _tell(self) -> None:
        status = self._mux.status()
        before, self._told = self._told, status
        if before is not None and status.phase is not before.phase:
            self.get_logger().info(f'{before.phase.name} -> {status.phase.name}: {status.reason}')
        elif status.holding and not (before and before.holding):
            self.get_logger().warning(f'holding: {status.reason}', throttle_duration_sec=1.0)
        state = MuxState()
        state.header.stamp = self.get_clock().now().to_msg()
        state.phase = int(status.phase)
        state.source = int(status.source)
        state.operator_id = status.operator_id
        state.device = status.device
        state.holding = status.holding
        state.reason = status.reason
        state.epoch = status.epoch
        state.step = status.step
        state.sent_actions = status.sent_actions
        state.held_actions = status.held_actions
        state.rejected_actions = status.rejected_actions
        state.policy_age = float(status.policy_age)
        state.operator_age = float(status.operator_age)
        self._state.publish(state)

    def _ask(self, command: Command) -> None:
        service: Any = self._rig_services[command]
        if not service.service_is_ready():
            self._mux.command_failed(command, f'nobody serves {service.srv_name}')
            return
        future = service.call_async(service.srv_type.Request())
        future.add_done_callback(partial(self._on_answer, command))

    def _on_answer(self, command: Command, future: Future) -> None:
        response = future.result()
        if response is not None and not response.success:
            self._mux.command_failed(command, response.message)
            self._act()

    def _warn(self, sentence: str) -> None:
        self.get_logger().warning(sentence, throttle_duration_sec=1.0)


def main() -> None:
    """Entry point."""
    sys.exit(run_node(ActionMuxNode))
