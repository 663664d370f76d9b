# SPDX-License-Identifier: Apache-2.0
"""The control loop of an arm: turns at its rate, which hear orders and tell what they have done.

It ends when it is told to, and also when whoever gives orders is gone; then the arm first comes to
rest. However it ends, the torque is taken off, and what could not be told is named. (Where it is
killed outright, each servo stops by its own watchdog.)
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import socket
import time
from typing import Any

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_robot.dynamixel.arm import Arm
from hiwm_robot.dynamixel.arm_memory import ArmMemory
from hiwm_robot.dynamixel.arm_order import LARGEST, Answer, Order, OrderKind
from hiwm_robot.dynamixel.arm_phase import PHASES, ArmPhase

# s for which the measured position is held before the torque goes, once nobody gives orders.
REST = 0.5
BEGIN = 0  # number of the answer that says how the start went
STIFF = 3  # exit code: a servo may still have torque


class ControlLoop:
    """Turns of one arm.

    Args:
        arm: Belongs to the loop.
        orders: Where orders come from, and answers go; does not block.
        memory: Where every turn is told.

    Attributes:
        abandoned: Whoever gave orders is gone.
    """

    def __init__(self, arm: Arm, orders: socket.socket, memory: ArmMemory) -> None:
        self._arm = arm
        self._orders = orders
        self._memory = memory
        self._period = 1.0 / arm.config.rate
        self.abandoned = False
        self._calls: list[Order] = []
        self._heard = 0
        self._overruns = 0
        self._ended = False
        self._rest_until = float('inf')

    def come_to_rest(self) -> None:
        """Hold the measured position, then end."""
        self._rest_until = min(self._rest_until, time.monotonic() + REST)

    def begin(self, prepare: Callable[[], str]) -> bool:
        """Set the arm up and answer how that went; whether it is.

        Args:
            prepare: Called once it is; what it returns is told.
        """
        try:
            self._arm.connect()
            said = prepare()
        except HiwmError as error:
            self._send(Answer(BEGIN, error.code, error.message))
            return False
        self._tell()
        self._send(Answer(BEGIN, ErrorCode.NONE, said))
        return True

    def run(self) -> str:
        """Turn until the end; then torque off and port closed.

        Returns:
            Which servos may still have torque, in one sentence; empty: none.
        """
        try:
            due = time.monotonic()
            while not self._ended and time.monotonic() < self._rest_until:
                due += self._period
                now = time.monotonic()
                if due < now - self._period:
                    missed = int((now - due) / self._period)
                    self._overruns += missed
                    due += missed * self._period
                time.sleep(max(0.0, due - now))
                began = time.monotonic()
                self._memory.note('lateness', began - due)
                self._turn()
                self._memory.note('busy', time.monotonic() - began)
        finally:
            self._arm.close()
            self._tell()
        return self._arm.message

    # -- one turn --------------------------------------------------------------------------------

    def _turn(self) -> None:
        arm = self._arm
        self._listen()
        if self._rest_until < float('inf'):
            arm.hold()
        calls, self._calls = self._calls, []
        for call in calls:
            self._perform(call)
        arm.tick(self._listen)
        for call in calls:
            if call.kind is OrderKind.RECOVER:
                failed = arm.phase is ArmPhase.FAULT
                code = ErrorCode.NOT_READY if failed else ErrorCode.NONE
                self._send(Answer(call.number, code, arm.message if failed else ''))
        for seconds in arm.answer_times:
            self._memory.note('answers', seconds)
        arm.answer_times.clear()
        self._tell()

    def _listen(self) -> None:
        """Take every order that has come; those that are answered wait for the next turn."""
        while not self._ended:
            try:
                data = self._orders.recv(LARGEST)
            except BlockingIOError:
                return
            except OSError:
                data = b''
            if not data:
                self.abandoned = True
                self.come_to_rest()
                return
            order = Order.unpack(data)
            self._heard = order.number
            if order.kind is OrderKind.COMMAND:
                # Refused is what came while the arm stopped; its state says so.
                with suppress(HiwmError):
                    self._arm.command(order.values, order.stamp)
            elif order.kind is OrderKind.HOLD:
                self._arm.hold()
            elif order.kind is OrderKind.STOP:
                self._arm.stop(order.text)
            elif order.kind is OrderKind.RESET_STOP:
                self._arm.reset_stop()
            elif order.kind is OrderKind.END:
                self._ended = True
            else:
                self._calls.append(order)

    def _perform(self, call: Order) -> None:
        arm = self._arm
        if call.kind is OrderKind.RECOVER:
            arm.recover()
            return
        try:
            arm.enable() if call.kind is OrderKind.ENABLE else arm.disable()
            answer = Answer(call.number, ErrorCode.NONE)
        except HiwmError as error:
            answer = Answer(call.number, error.code, error.message)
        self._send(answer)

    def _send(self, answer: Answer) -> None:
        # Who has gone, or asks without listening, gets none; that it has gone is heard elsewhere.
        with suppress(OSError):
            self._orders.send(answer.pack())

    def _tell(self) -> None:
        arm = self._arm
        fields: dict[str, Any] = {
            'stamp': time.monotonic(),
            'heard': self._heard,
            'phase': PHASES.index(arm.phase),
            'missed': arm.missed,
            'overruns': self._overruns,
            'message': arm.told,
            'stop_reason': arm.stop_reason,
        }
        if arm.measured is not None:
            fields |= {'measured': True, **vars(arm.measured), 'values': arm.values()}
        if arm.goal is not None:
            fields |= {'sent': True, 'goal': arm.goal, 'executed': arm.executed()}
        self._memory.tell(fields)
