# SPDX-License-Identifier: Apache-2.0
"""Torque off, until every servo has said so.

A disturbed bus may lose every word, and once it is sound again, reading keeps the watchdog of a
servo that has heard none from tripping: it would stay stiff for ever. So what has not been answered
is asked again, turn by turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.port import PortLostError

TRIES = 3  # of the word to all


class TorqueOff:
    """Takes the torque of an arm's servos off.

    Args:
        bus: Where they are.
        servos: Their ids.
    """

    def __init__(self, bus: ServoBus, servos: Sequence[int]) -> None:
        self._bus = bus
        self._servos = tuple(servos)
        self._unsure: list[int] = []

    def begin(self) -> None:
        """As well as it can be done now: to all at once, then one by one; a lost port is silent."""
        self._unsure = list(self._servos)
        try:
            for _ in range(TRIES):
                self._bus.write_all(table.TORQUE_ENABLE, 0)
            for _ in self._servos:
                self._ask_next()
        except PortLostError:
            return

    def go_on(self) -> None:
        """Tell all once more and ask one, if one has not answered. Raises PortLostError."""
        if self._unsure:
            self._bus.write_all(table.TORQUE_ENABLE, 0)
            self._ask_next()

    def forget(self) -> None:
        """The torque is wanted again."""
        self._unsure.clear()

    def _ask_next(self) -> None:
        servo = self._unsure.pop(0)
        try:
            self._bus.write(servo, table.TORQUE_ENABLE, 0)
        except BusError:
            self._unsure.append(servo)
