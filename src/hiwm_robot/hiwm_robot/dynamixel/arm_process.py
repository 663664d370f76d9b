# SPDX-License-Identifier: Apache-2.0
"""An arm whose control loop runs in a process of its own, as its node sees it.

What the node does, or fails to do, the loop does not feel: it has its own interpreter, watchdog and
limits. If the node is gone, the loop brings the arm to rest and takes its torque off; if the loop
is gone, each servo stops by itself, and `ended` says so.
"""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import select
import signal
import subprocess
import sys
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.task import Task
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_memory import ArmMemory, sentence
from hiwm_robot.dynamixel.arm_order import LARGEST, Answer, Order, OrderKind, socket_pair
from hiwm_robot.dynamixel.arm_phase import PHASES, ArmPhase, refusal
from hiwm_robot.dynamixel.arm_safety import Measured
from hiwm_robot.dynamixel.control_loop import BEGIN, STIFF

FloatArray = NDArray[np.float64]

PROGRAM = 'hiwm_robot.dynamixel.control_loop_program'
# s, an interpreter that starts on a busy machine, and servos that are set up.
LONGEST_START = 60.0
LONGEST_CALL = 20.0  # s, an arm that is set up anew after a fault
# s; the last tries to take the torque off, `arm.LAST_TRIES`, have to be over by then.
LONGEST_END = 5.0
# s without a turn, after which the loop counts as stuck.
STUCK = 1.0


class ArmProcess:
    """One arm. Every method but `start`, `call` and `close` returns at once.

    Args:
        file: The arm's.
        config: What it says; `config.port` is opened.
        task: What is commanded.
        dry_run: Everything but torque.
    """

    def __init__(self, file: Path, config: ArmConfig, task: Task, *, dry_run: bool) -> None:
        self.config = config
        self._file = file
        self._task = task
        self._dry_run = dry_run
        self._memory = ArmMemory.create(len(config.joints), len(task.actions))
        self._orders, self._far_end = socket_pair()
        self._orders.setblocking(False)
        self._process: subprocess.Popen[bytes] | None = None
        self._number = 0
        # Number of the newest wish about the emergency stop, and what it wishes.
        self._stop_wish = (0, '')
        # A stop that could not be sent, and is sent as soon as it can be.
        self._unsent = b''
        self._end_wished = False

    # -- its life --------------------------------------------------------------------------------

    def start(self) -> str:
        """Start the loop and set the arm up, without torque; how the loop is served.

        Raises:
            ConfigurationError: The file, the port, a servo or its model is not as it should be.
        """
        command = [
            # Nothing in the working directory is taken for a module.
            *(sys.executable, '-P', '-m', PROGRAM),
            *('--arm', str(self._file), '--port', self.config.port, '--task', self._task.name),
            *('--orders', str(self._far_end.fileno())),
            *('--memory', str(self._memory.descriptor)),
            *(['--dry-run'] if self._dry_run else []),
        ]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(self._far_end.fileno(), self._memory.descriptor),
            # What interrupts the node's group ends the node, which then ends the loop.
            process_group=0,
        )
        self._far_end.close()
        self._memory.close_file()
        try:
            return self._answer_to(BEGIN, LONGEST_START)
        except HiwmError as error:
            raise ConfigurationError(error.message, error.code) from error

    @property
    def ended(self) -> str:
        """Why there is no loop any more, in one sentence; empty: there is, or it was ended here."""
        if self._process is None or self._end_wished:
            return ''
        code = self._process.poll()
        return '' if code is None else self._how_it_ended(code)

    def _how_it_ended(self, code: int) -> str:
        if code in {0, STIFF}:
            torque = 'its torque is off; start the arm anew' if code == 0 else self._stiff
            return (
                f"the control loop of the arm '{self.config.name}' has ended, for somebody told it "
                f'to, and {torque}'
            )
        how = f'by {signal.Signals(-code).name}' if code < 0 else f'with code {code}'
        return (
            f"the control loop of the arm '{self.config.name}' has ended {how}; without it each "
            'servo has stopped by itself and may still have torque; support the arm, then start it '
            'anew'
        )

    @property
    def process_id(self) -> int:
        """Of the loop; 0 before the start."""
        return 0 if self._process is None else self._process.pid

    def close(self) -> str:
        """End the loop, with the torque off and the port closed.

        Returns:
            What may still have torque, in one sentence; empty: nothing, or `ended` has said so.
        """
        if self._end_wished:
            return ''
        told = bool(self.ended)
        self._end_wished = True
        with suppress(HiwmError):
            self._order(OrderKind.END)
        left = self._wait_for_end(told)
        self._orders.close()
        return left

    def _wait_for_end(self, told: bool) -> str:
        """What may still have torque then; `told`: that the loop is gone was said before."""
        if self._process is None:
            self._far_end.close()
            self._memory.close_file()
            return ''
        try:
            code = self._process.wait(LONGEST_END)
        except subprocess.TimeoutExpired:
            # One that is held up ends by itself as soon as it can: nobody gives it orders.
            return (
                f"the control loop of the arm '{self.config.name}' has not ended within "
                f'{LONGEST_END:g} s; its servos may still have torque; switch their supply off'
            )
        if code == STIFF:
            return self._stiff
        # With 1 it was never set up, which its start has said.
        return '' if told or code in {0, 1} else self._how_it_ended(code)

    @property
    def _stiff(self) -> str:
        """What the loop has left stiff, as it said last."""
        state = self._memory.look()
        return '' if state is None else sentence(state['message'])

    # -- orders ----------------------------------------------------------------------------------

    def command(self, values: FloatArray) -> None:
        """Go there within a period, as fast and as far as the limits allow.

        Args:
            values: (A,), finite.

        Raises:
            HiwmError: NOT_READY: it takes no commands now; the sentence says why.
        """
        if why := self.refusal:
            raise HiwmError(why, ErrorCode.NOT_READY)
        self._order(OrderKind.COMMAND, np.ascontiguousarray(values, np.float64).tobytes())

    def hold(self) -> None:
        """Hold the measured position, at once."""
        # A loop that cannot hear holds by its own watchdog.
        with suppress(HiwmError):
            self._order(OrderKind.HOLD)

    def stop(self, reason: str) -> None:
        """Emergency stop, until `reset_stop`; `reason` is one sentence."""
        if not self.stop_reason:
            self._stop_wish = (self._number + 1, reason)
        body = reason.encode()[: LARGEST // 2]
        try:
            self._order(OrderKind.STOP, body)
        except HiwmError:
            self._unsent = Order(OrderKind.STOP, self._number, time.monotonic(), body).pack()

    def reset_stop(self) -> None:
        """Take an emergency stop back; the arm begins slowly."""
        self._unsent = b''
        self._stop_wish = (self._number + 1, '')
        with suppress(HiwmError):
            self._order(OrderKind.RESET_STOP)

    def call(self, kind: OrderKind) -> None:
        """ENABLE, DISABLE or RECOVER, and wait until it is done. Raises HiwmError if it is not."""
        self._answer_to(self._order(kind), LONGEST_CALL)

    def _order(self, kind: OrderKind, body: bytes = b'') -> int:
        self._number += 1
        order = Order(kind, self._number, time.monotonic(), body)
        try:
            self._orders.send(order.pack())
        except OSError as error:
            raise HiwmError(
                f"the control loop of the arm '{self.config.name}' takes no orders "
                f'({os.strerror(error.errno or 0)}); start the arm anew',
                ErrorCode.NOT_READY,
            ) from error
        return self._number

    def _answer_to(self, number: int, patience: float) -> str:
        """What an order, or the start, is answered. Raises HiwmError."""
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0.0:
            select.select([self._orders], [], [], left)
            try:
                data = self._orders.recv(LARGEST)
            except BlockingIOError:
                continue
            except OSError:
                data = b''
            if not data:
                assert self._process is not None
                self._process.wait(LONGEST_END)
                raise HiwmError(self.ended, ErrorCode.NOT_READY)
            answer = Answer.unpack(data)
            if answer.number != number:
                continue
            if answer.code is not ErrorCode.NONE:
                raise HiwmError(answer.text, answer.code)
            return answer.text
        raise HiwmError(
            f"the control loop of the arm '{self.config.name}' has not answered within "
            f'{patience:g} s; start the arm anew',
            ErrorCode.TIMED_OUT,
        )

    # -- what it does ----------------------------------------------------------------------------

    @property
    def phase(self) -> ArmPhase:
        """What it is doing, as far as it has told."""
        state = self._memory.look()
        return ArmPhase.OFF if state is None else PHASES[state['phase']]

    @property
    def message(self) -> str:
        """One sentence on why it is stopped, at fault, or not to be heard; else empty."""
        state = self._memory.look()
        if state is None or self._end_wished:
            return ''
        silent = time.monotonic() - float(state['stamp'])
        return (
            self.ended
            or sentence(state['message'])
            or (
                f"the control loop of the arm '{self.config.name}' has not turned for "
                f'{silent:.1f} s; each servo has stopped by itself'
                if silent > STUCK
                else ''
            )
        )

    @property
    def stop_reason(self) -> str:
        """Why an emergency stop is set, or about to be; empty: none is."""
        if self._unsent:
            with suppress(OSError):
                self._orders.send(self._unsent)
                self._unsent = b''
        state = self._memory.look()
        number, wished = self._stop_wish
        if self._unsent or state is None or state['heard'] < number:
            return wished
        return sentence(state['stop_reason'])

    @property
    def stopped(self) -> bool:
        """Whether an emergency stop is set, or about to be."""
        return bool(self.stop_reason)

    @property
    def refusal(self) -> str:
        """Why it takes no commands now, in one sentence; empty: it does."""
        stuck = '' if self.phase is ArmPhase.FAULT else self.message
        return refusal(self.config.name, self.phase, self.message, self.stop_reason or stuck)

    @property
    def faulty(self) -> bool:
        """Whether only RECOVER helps."""
        return self.phase is ArmPhase.FAULT

    @property
    def measured(self) -> Measured | None:
        """The newest measurement; None before the first."""
        state = self._memory.look()
        if state is None or not state['measured']:
            return None
        return Measured(
            angles=state['angles'],
            speeds=state['speeds'],
            currents=state['currents'],
            voltages=state['voltages'],
            temperatures=state['temperatures'],
            alerts=state['alerts'].astype(np.bool_),
        )

    def values(self) -> FloatArray | None:
        """What is measured, in the task's values (A,); None before the first."""
        return self._field('measured', 'values')

    def executed(self) -> FloatArray | None:
        """What the servos were sent, in the task's values (A,); None before the first goal."""
        return self._field('sent', 'executed')

    def _field(self, known: str, name: str) -> FloatArray | None:
        state = self._memory.look()
        if state is None or not state[known]:
            return None
        return np.array(state[name], np.float64)

    def count(self, what: str) -> int:
        """Of turns since the start: 'missed', in which something could not be read or sent;
        'overruns', that were left out since the one before took too long.
        """
        state = self._memory.look()
        return 0 if state is None else int(state[what])

    def times(self, ring: str) -> FloatArray:
        """s, the newest ones: 'lateness' and 'busy' of turns, 'answers' from command to goal."""
        return self._memory.times(ring)
