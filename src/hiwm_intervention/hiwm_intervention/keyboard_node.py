# SPDX-License-Identifier: Apache-2.0
"""The keyboard of a terminal as an operator's device.

A thread reads the terminal; everything else happens in the executor's thread, as in every node. The
terminal is put back as it was on every way out.
"""

from __future__ import annotations

from functools import partial
import getpass
from queue import SimpleQueue
import secrets
import sys
import threading
import time

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Rollback, Takeover
import rclpy
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState

from hiwm_core import contract
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Pace
from hiwm_core.task import FloatArray, load_task
from hiwm_intervention.takeover import Event, Phase
from hiwm_intervention.terminal import Terminal
from hiwm_intervention.terminal_session import Command, TerminalSession
from hiwm_rig.base_node import client, declare, publisher, run_node, subscription
from hiwm_rig.conversion import action_message, action_of, joints_of, nanoseconds_of
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_rig.wake import Wake

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'operator_id': Parameter('', 'who is at the terminal; empty: the user and a number'),
    'repeat_timeout': Parameter(
        0.15, 'how long a key counts as held after each report, in s', low=0.02, high=2.0
    ),
    'away_timeout': Parameter(
        60.0, 'how long no key may come from a person who drives, in s', low=1.0, high=3600.0
    ),
    'rollback_steps': Parameter(20, 'how far backspace rolls back, in steps', low=1),
}
ANSWERS_PER_PERIOD = 5
READ_TIMEOUT = 0.2  # s, how soon the reading thread sees that it is to end
FAREWELL = 0.2  # s, from the last action to the end


class KeyboardNode(Node):
    """Proposals on `/operator/action` while this terminal's person has the wheel."""

    def __init__(self) -> None:
        super().__init__('keyboard')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        self._session = TerminalSession(
            self._task,
            values['operator_id'] or f'{getpass.getuser()}-{secrets.token_hex(2)}',
            values['repeat_timeout'],
            values['away_timeout'],
        )
        self._rollback_steps = values['rollback_steps']
        self._terminal = Terminal()
        self._joints: FloatArray | None = None
        self._rig: RigState | None = None
        self._executed: FloatArray | None = None  # in this epoch
        self._keys: SimpleQueue[str | None] = SimpleQueue()
        self._stopped = threading.Event()
        self._actions = publisher(self, contract.OPERATOR_ACTION)
        self._takeover = client(self, contract.TAKEOVER)
        self._rollback = client(self, contract.ROLLBACK)
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_STATE, self._on_rig)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        subscription(self, contract.MUX_STATE, self._on_mux)
        self.create_timer(self._task.period / ANSWERS_PER_PERIOD, self._answer, clock=STEADY_CLOCK)
        self._wake = Wake(self, self._take_keys)
        self._terminal.__enter__()
        self._terminal.say(self._session.help())
        self._show()
        self._reader = threading.Thread(target=self._read, name='terminal', daemon=True)
        self._reader.start()

    def destroy_node(self) -> None:
        """Put the terminal back before anything else goes."""
        if hasattr(self, '_reader'):
            self._stopped.set()
            self._reader.join(timeout=2.0)
            self._terminal.restore()
        super().destroy_node()

    # -- the terminal ----------------------------------------------------------------------------

    def _read(self) -> None:
        """In the thread: hand every key over."""
        while not self._stopped.is_set():
            keys = self._terminal.read(READ_TIMEOUT)
            for key in [None] if keys is None else keys:
                self._keys.put(key)
            if (keys is None or keys) and not self._stopped.is_set():
                self._wake.call()
            if keys is None:
                return

    def _take_keys(self) -> None:
        while not self._keys.empty():
            key = self._keys.get()
            command = Command.QUIT if key is None else self._session.press(key, time.monotonic())
            if command is not None:
                self._do(command)
        self._answer()

    def _show(self) -> None:
        try:
            self._terminal.show(self._session.line())
        except OSError:
            # The reading thread notices it too, and ends the node.
            return

    def _say(self, sentence: str) -> None:
        if sentence:
            self._terminal.say(sentence)
        self._show()

    # -- what is asked for -----------------------------------------------------------------------

    def _do(self, command: Command) -> None:
        if command is Command.HELP:
            self._say(self._session.help())
        elif command is Command.QUIT:
            self._quit()
        elif command is Command.ROLLBACK:
            self._roll_back()
        else:
            event = self._session.event(command)
            if isinstance(event, str):
                self._say(event)
            else:
                self._request(event)

    def _request(self, event: Event) -> None:
        if not self._takeover.service_is_ready():
            self._say(f'{contract.TAKEOVER.name} is not available; is the multiplexer running?')
            return
        stamp = self.get_clock().now().nanoseconds
        request = Takeover.Request(event=int(event), operator_id=self._session.operator_id)
        future = self._takeover.call_async(request)
        future.add_done_callback(partial(self._on_answer, event, stamp))

    def _on_answer(self, event: Event, stamp: int, future: Future) -> None:
        response = future.result()
        if response is None:
            return
        if response.success:
            self._session.granted(event, stamp, time.monotonic())
            self._answer()
        self._say(response.message)

    def _roll_back(self) -> None:
        refusal = self._session.event(Command.RELEASE)
        if isinstance(refusal, str):
            self._say(refusal)
        elif not self._rollback.service_is_ready():
            self._say(f'the service {contract.ROLLBACK.name} is not available; is the rig running?')
        else:
            future = self._rollback.call_async(Rollback.Request(steps=self._rollback_steps))
            future.add_done_callback(self._on_rolled_back)

    def _on_rolled_back(self, future: Future) -> None:
        response = future.result()
        if response is not None:
            done = f'back at step {response.step}; press t to take over'
            self._say(done if response.success else response.message)

    def _quit(self) -> None:
        """The dead-man falls, and a moment later the process ends."""
        if self._session.drives:
            self._session.leave()
            self._answer()
            self._request(Event.RELEASE)
        self.create_timer(FAREWELL, rclpy.try_shutdown, clock=STEADY_CLOCK)

    # -- the graph -------------------------------------------------------------------------------

    def _on_joints(self, message: JointState) -> None:
        try:
            self._joints = joints_of(self._task, message)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)

    def _on_rig(self, message: RigState) -> None:
        if not message.context:
            if self._rig is None or self._rig.epoch != message.epoch:
                self._executed = None
            self._rig = message
            self._answer()

    def _on_executed(self, message: ActionMessage) -> None:
        try:
            action = action_of(self._task, message)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)
            return
        if self._rig is not None and action.epoch == self._rig.epoch:
            self._executed = action.values

    def _on_mux(self, message: MuxState) -> None:
        self._session.see_mux(
            Phase(message.phase),
            str(message.operator_id),
            nanoseconds_of(message.header.stamp),
            time.monotonic(),
            reason=str(message.reason),
            asked_by=str(message.asked_by),
            waiting=bool(message.waiting),
        )
        self._show()

    def _answer(self) -> None:
        """Send the person's action, if one is due."""
        if self._rig is None or self._joints is None:
            return
        before = self._session.line()
        action = self._session.answer(
            int(self._rig.epoch),
            int(self._rig.step),
            self._joints,
            time.monotonic(),
            lockstep=self._rig.pace == Pace.LOCKSTEP,
            executed=self._executed,
        )
        if action is not None:
            stamp = self.get_clock().now().to_msg()
            self._actions.publish(action_message(self._task, action, stamp))
        if self._session.line() != before:
            self._show()


def main() -> None:
    """Drive from this terminal until q or an interrupt."""
    sys.exit(run_node(KeyboardNode))
