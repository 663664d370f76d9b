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
from hiwm_msgs.srv import SaveCheckpoint, SetPace
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import load_task
from hiwm_intervention.action_mux import Multiplexer
from hiwm_intervention.mux_status import MuxStatus
from hiwm_intervention.rig_mode import Command, RigView
from hiwm_intervention.sources import read_settings
from hiwm_intervention.takeover import REQUESTS, Event
from hiwm_intervention.trigger import Bookmark
from hiwm_rig.base_node import client, declare, profile_of, publisher, run_node, serve, subscription
from hiwm_rig.conversion import action_message, action_of, joint_message, joints_of
from hiwm_rig.pacing import Advance
from hiwm_rig.steady_clock import STEADY_CLOCK

STATE_PERIOD = 1.0  # s, at the longest
TICKS_PER_STEP = 10
LONGEST_TICK = 0.02  # s
MOST_OF_A_NAME = 100  # bookmarks at the same step of other branches

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'config': Parameter('', "file with sources and locks; empty: this package's action_mux.yaml"),
    'autonomous_at_start': Parameter(
        True, 'give the wheel to the policy as soon as it and the rig are there'
    ),
    'wait_for_recorder': Parameter(False, 'nobody drives before the recorder says that it records'),
    'handover_timeout': Parameter(
        5.0, 'how long a takeover waits for the dead-man to be pressed, in s', low=0.1, high=600.0
    ),
    'advance': Parameter(
        'on_input',
        'on_input: while an operator drives, time stands still until they command a motion, on a '
        'rig that can; always: it never does',
        choices=('on_input', 'always'),
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
            on_input=values['advance'] == 'on_input',
        )
        self._settings = settings
        self._told: MuxStatus | None = None
        self._action = publisher(self, contract.ACTION)
        self._state = publisher(self, contract.MUX_STATE)
        self._target = publisher(self, contract.OPERATOR_TARGET)
        self._rig_services = {
            Command.PAUSE: client(self, contract.PAUSE),
            Command.RESUME: client(self, contract.RESUME),
        }
        self._set_pace = client(self, contract.SET_PACE)
        self._save_checkpoint = client(self, contract.SAVE_CHECKPOINT)
        # The joints come before the state of the same frame; the executor keeps this order.
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        for name in {source.topic: None for source in settings.sources.values()}:
            # Deep enough that of devices which share a topic none takes another's place.
            topic = contract.Topic(name, contract.ACTION.type, contract.DEFAULT)
            subscription(self, topic, partial(self._on_proposal, name))
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
        tick = min(self._task.period / TICKS_PER_STEP, LONGEST_TICK)
        self.create_timer(tick, self._act, clock=STEADY_CLOCK)
        self.create_timer(STATE_PERIOD, self._tell, clock=STEADY_CLOCK)
        self._tell()
        self.get_logger().info(
            f'sources: {", ".join(settings.sources)}; locks: {", ".join(settings.locks) or "none"}'
        )

    # -- what comes in ---------------------------------------------------------------------------

    def _on_recorder(self, message: RecorderState) -> None:
        self._mux.set_recording(bool(message.recording), str(message.message))
        self._act()

    def _on_rig(self, message: RigState) -> None:
        try:
            view = RigView(
                epoch=int(message.epoch),
                step=int(message.step),
                mode=Mode(message.mode),
                pace=Pace(message.pace),
                period=float(message.period) / (float(message.speed) or 1.0),
                can_pause=bool(message.can_pause),
                message=str(message.message),
                node=int(message.node),
                advance=Advance(message.advance or Advance.ALWAYS),
                can_set_pace=bool(message.can_set_pace),
                progress=float(message.progress),
                fidelity=float(message.fidelity),
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
        self._lead()

    def _on_executed(self, message: ActionMessage) -> None:
        try:
            self._mux.executed(action_of(self._task, message))
        except HiwmError as error:
            self._warn(f'{contract.RIG_EXECUTED.name}: {error.message}')

    def _on_proposal(self, topic: str, message: ActionMessage) -> None:
        name = self._settings.source_of(topic, str(message.device))
        if not name:
            self._warn(f"no source of {topic} names the device '{message.device}'; it is ignored")
            return
        proposal = Action(
            values=self._task.action_low,
            source=Source.NONE,
            epoch=int(message.epoch),
            step=int(message.observation_step),
            device=str(message.device),
            seq=int(message.seq),
            deadman=bool(message.deadman),
            idle=bool(message.idle),
            spread=float(message.spread),
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
        command, advance = self._mux.next_command(), self._mux.rig_pace.next_question()
        if command is not None:
            self._ask(command)
        if advance is not None:
            self._ask_pace(advance)
        bookmark = self._mux.watch.next_bookmark()
        if bookmark is not None:
            self._keep(bookmark)
        if self._told is None or self._told.differs(self._mux.status()):
            self._tell()
        if action is not None:
            stamp = self.get_clock().now().to_msg()
            self._action.publish(action_message(self._task, action, stamp))

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
        state.waiting = status.waiting
        state.human_time = float(status.human_time)
        state.asked_by = status.asked_by
        state.trigger = int(status.trigger)
        state.policy_age = float(status.policy_age)
        state.operator_age = float(status.operator_age)
        self._state.publish(state)

    def _ask(self, command: Command) -> None:
        service: Any = self._rig_services[command]
        if not service.service_is_ready():
            self._mux.command_failed(command, f'the service {service.srv_name} is not available')
            return
        future = service.call_async(service.srv_type.Request())
        future.add_done_callback(partial(self._on_answer, command))

    def _on_answer(self, command: Command, future: Future) -> None:
        response = future.result()
        if response is not None and not response.success:
            self._mux.command_failed(command, response.message)
            self._act()

    def _ask_pace(self, advance: Advance) -> None:
        if not self._set_pace.service_is_ready():
            self._refuse_pace(advance, f'the service {contract.SET_PACE.name} is not available')
            return
        future = self._set_pace.call_async(SetPace.Request(advance=int(advance)))
        future.add_done_callback(partial(self._on_pace, advance))

    def _on_pace(self, advance: Advance, future: Future) -> None:
        response = future.result()
        if response is not None and not response.success:
            self._refuse_pace(advance, response.message)

    def _refuse_pace(self, advance: Advance, sentence: str) -> None:
        self._mux.rig_pace.refuse(advance)
        self._warn(f'time cannot advance {advance.name.lower()}: {sentence}')

    def _lead(self) -> None:
        """Tell an actuated leader where to go."""
        target = self._mux.target
        if target is not None:
            stamp = self.get_clock().now().to_msg()
            self._target.publish(joint_message(self._task.joint_names, target, stamp))

    def _keep(self, bookmark: Bookmark, attempt: int = 1) -> None:
        """Give a node its name, or with a number if there is one of that name."""
        name = bookmark.name if attempt == 1 else f'{bookmark.name}-{attempt}'
        if not self._save_checkpoint.service_is_ready():
            self._warn(f"'{name}' is not kept: {contract.SAVE_CHECKPOINT.name} is not available")
            return
        request = SaveCheckpoint.Request(name=name, node=bookmark.node)
        future = self._save_checkpoint.call_async(request)
        future.add_done_callback(partial(self._on_kept, bookmark, attempt))

    def _on_kept(self, bookmark: Bookmark, attempt: int, future: Future) -> None:
        response = future.result()
        if response is None or response.success:
            return
        if response.error_code == ErrorCode.NAME_TAKEN and attempt < MOST_OF_A_NAME:
            self._keep(bookmark, attempt + 1)
        else:
            self._warn(f"'{bookmark.name}' is not kept: {response.message}")

    def _warn(self, sentence: str) -> None:
        self.get_logger().warning(sentence, throttle_duration_sec=1.0)


def main() -> None:
    """Entry point."""
    sys.exit(run_node(ActionMuxNode))
