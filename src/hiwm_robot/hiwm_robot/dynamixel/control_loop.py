# SPDX-License-Identifier: Apache-2.0
"""The thread that turns an arm's control loop, and takes its torque off however it ends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
import os
from queue import Empty, SimpleQueue
import sys
import threading
import time
from typing import Any

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_robot.dynamixel.arm import Arm

# s that a thread of this process may keep the interpreter while the loop's turn is due. Python's
# own 5 ms would be half of a turn at 100 Hz.
SWITCH_INTERVAL = 5e-4
KEPT_TURNS = 6000
PRIORITY = 50  # of the thread, in real time
LONGEST_CALL = 20.0  # s, an arm that is set up anew after a fault
LONGEST_END = 5.0  # s


class ControlLoop:
    """Turns of one arm, at its rate, in a thread of their own.

    Args:
        arm: Touched by this thread alone while it runs, but for its commands and wishes.

    Attributes:
        lateness: s, of the newest turns: how late each began.
        busy: s, of the newest turns: how long each took.
        overruns: Turns that were left out since the one before took too long.
    """

    def __init__(self, arm: Arm) -> None:
        self.lateness: deque[float] = deque(maxlen=KEPT_TURNS)
        self.busy: deque[float] = deque(maxlen=KEPT_TURNS)
        self.overruns = 0
        self._arm = arm
        self._period = 1.0 / arm.config.rate
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future[Any]]] = SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name='arm', daemon=True)

    def start(self) -> None:
        """Begin."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        self._thread.start()

    def stop(self) -> None:
        """End, with the torque off and the port closed."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(LONGEST_END)

    def call(self, act: Callable[[], Any]) -> Any:
        """What `act()` gives, done between two turns. Raises what it raises, or HiwmError."""
        future: Future[Any] = Future()
        self._calls.put((act, future))
        try:
            return future.result(LONGEST_CALL if self._thread.is_alive() else 0.0)
        except TimeoutError:
            raise HiwmError(
                f"the arm's control loop has not answered within {LONGEST_CALL:g} s; "
                'start the arm anew',
                ErrorCode.TIMED_OUT,
            ) from None

    def _run(self) -> None:
        # As ros2_control does; where the system does not allow it, the loop is as late as others.
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        try:
            due = time.monotonic()
            while not self._ended.is_set():
                due += self._period
                now = time.monotonic()
                if due < now - self._period:
                    missed = int((now - due) / self._period)
                    self.overruns += missed
                    due += missed * self._period
                time.sleep(max(0.0, due - now))
                began = time.monotonic()
                self.lateness.append(began - due)
                self._answer_calls()
                self._arm.tick()
                self.busy.append(time.monotonic() - began)
        finally:
            self._arm.close()

    def _answer_calls(self) -> None:
        while True:
            try:
                act, future = self._calls.get_nowait()
            except Empty:
                return
            try:
                future.set_result(act())
            except Exception as error:
                future.set_exception(error)
