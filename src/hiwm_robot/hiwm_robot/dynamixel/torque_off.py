# SPDX-License-Identifier: Apache-2.0
"""Torque off, until every servo has said so.

A disturbed bus may lose every word, and once it is sound again, reading keeps the watchdog of a
servo that has heard none from tripping: it would stay stiff for ever. So what has not been answered
is asked again, turn by turn. Servos whose port is gone stop by that watchdog and keep their torque:
the port is opened for this as soon as it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math

from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.port import REOPEN_PERIOD, PortLostError

TRIES = 3  # of the word to all


def tell_all(bus: ServoBus) -> None:
    """Torque off, to all at once; nobody answers that. Raises PortLostError."""
    for _ in range(TRIES):
        bus.write_all(table.TORQUE_ENABLE, 0)


class TorqueOff:
    """Takes the torque of an arm's servos off.

    Args:
        bus: Where they are.
        servos: Their ids.
    """

    def __init__(self, bus: ServoBus, servos: Sequence[int]) -> None:
        self._bus = bus
        self._servos = tuple(servos)
        self._unsure = list(servos)
        self._wanted = False
        self._tried_at = -math.inf

    @property
    def wanted(self) -> bool:
        """Whether no servo is to have torque."""
        return self._wanted

    @property
    def unsure(self) -> tuple[int, ...]:
        """Ids of the servos that may have torque: they have not said otherwise."""
        return tuple(servo for servo in self._servos if servo in self._unsure)

    def begin(self) -> None:
        """As well as it can be done now: to all at once, then one by one; a lost port is silent."""
        self._wanted = True
        if not self._bus.is_open:
            return
        try:
            tell_all(self._bus)
            for _ in self.unsure:
                self._ask_next()
        except PortLostError:
            return

    def go_on(self, now: float) -> None:
        """Tell all once more and ask one, if it is wanted and one has not answered.

        A port that is closed is opened for that, at most once in `REOPEN_PERIOD`.

        Args:
            now: s, steady.

        Raises:
            PortLostError.
        """
        if not self._wanted or not self._unsure:
            return
        if not self._bus.is_open:
            if now - self._tried_at < REOPEN_PERIOD:
                return
            self._tried_at = now
            try:
                self._bus.open()
            except ConfigurationError:
                return
        self._bus.write_all(table.TORQUE_ENABLE, 0)
        self._ask_next()

    def finish(self, clock: Callable[[], float], seconds: float) -> None:
        """Begin, and go on until all have answered, so many s are over, or the port is gone.

        Args:
            clock: s, steady.
        """
        until = clock() + seconds
        self.begin()
        while self._unsure and clock() < until:
            if not self._bus.is_open:
                self._tried_at = -math.inf
            try:
                self.go_on(clock())
            except PortLostError:
                self._bus.close()
                continue
            if not self._bus.is_open:
                return

    def confirm(self) -> None:
        """Every servo has said so to somebody else."""
        self._unsure.clear()

    def forget(self) -> None:
        """The torque is wanted again."""
        self._wanted = False
        self._unsure = list(self._servos)

    def _ask_next(self) -> None:
        servo = self._unsure[0]
        try:
            self._bus.write(servo, table.TORQUE_ENABLE, 0)
        except BusError:
            self._unsure.append(servo)
        # Not before: a servo whose port is lost at this moment has not answered.
        del self._unsure[0]
