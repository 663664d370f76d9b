# SPDX-License-Identifier: Apache-2.0
"""The servos of a leader arm: limp, or driven by current.

Current control begins in this order: torque off, bus watchdog off; operating mode, which sets the
goal current to the whole current limit; current limit; goal current 0; bus watchdog; torque on. A
servo in this mode whose bus watchdog trips is free, as it is without torque.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_safety import Measured
from hiwm_robot.dynamixel.arm_servos import REBOOT_PAUSE, ArmServos, open_and_check
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.control_table import OperatingMode


class LeaderServos:
    """One leader's servos; belongs to one thread.

    Args:
        config: The arm.
        bus: Where its servos are.
        sleep: Waits so many s.
    """

    def __init__(self, config: ArmConfig, bus: ServoBus, sleep: Callable[[float], None]) -> None:
        self._config = config
        self._bus = bus
        self._sleep = sleep
        self._servos = ArmServos(config, bus, sleep)
        self._watchdog = round(config.limits.bus_watchdog / table.WATCHDOG_TICK)

    @property
    def is_open(self) -> bool:
        """Whether the port is."""
        return self._bus.is_open

    def set_up(self) -> None:
        """Open the port, look who is there, and take the torque off.

        Raises:
            ConfigurationError: The port cannot be opened, or a model is not as the file says.
            BusError, PortLostError: A servo does not answer.
        """
        open_and_check(self._bus, self._config, "is this the follower's port?")
        for servo in self._config.servos:
            self._bus.write(servo, table.TORQUE_ENABLE, 0)
            if self._bus.read(servo, table.RETURN_DELAY):
                self._bus.write(servo, table.RETURN_DELAY, 0)
        self._servos.torque_off.confirm()

    def read(self) -> Measured:
        """What all servos report now. Raises BusError, PortLostError."""
        return self._servos.read()

    def torque_on(self, joints: Sequence[int], limits: Sequence[int]) -> None:
        """Current control with no current yet, for the joints of these indices alone.

        Args:
            joints: Indices.
            limits: counts, of each one's current.

        Raises:
            BusError, PortLostError.
        """
        self._servos.torque_off.forget()
        write = self._bus.write
        servos = [self._config.servos[place] for place in joints]
        for servo in self._config.servos:
            if self._bus.read(servo, table.HARDWARE_ERROR):
                # Only a reboot clears it; what has caused it may be there still: then it returns.
                self._bus.reboot(servo)
                self._sleep(REBOOT_PAUSE)
        for servo, limit in zip(servos, limits, strict=True):
            write(servo, table.TORQUE_ENABLE, 0)
            write(servo, table.BUS_WATCHDOG, 0)
            for register, count in (
                (table.OPERATING_MODE, int(OperatingMode.CURRENT)),
                (table.CURRENT_LIMIT, limit),
            ):
                # The EEPROM wears out with writes.
                if self._bus.read(servo, register) != count:
                    write(servo, register, count)
            write(servo, table.GOAL_CURRENT, 0)
        for servo in servos:
            write(servo, table.BUS_WATCHDOG, self._watchdog)
            write(servo, table.TORQUE_ENABLE, 1)

    def send(self, joints: Sequence[int], counts: Sequence[int]) -> None:
        """Tell the servos of these joints their currents. Raises BusError, PortLostError."""
        servos = [self._config.servos[place] for place in joints]
        self._bus.write_goals(servos, counts, table.GOAL_CURRENT)

    def torque_off(self) -> None:
        """As well as it can be done; nothing happens if the port is closed."""
        self._servos.torque_off.begin()

    def finish_torque_off(self, now: float) -> None:
        """Go on with what `torque_off` could not be sure of, at `now` (s). Raises PortLostError."""
        self._servos.torque_off.go_on(now)

    def tripped(self, joints: Sequence[int]) -> int | None:
        """The first of these joints whose bus watchdog has tripped; or none.

        Raises:
            BusError, PortLostError.
        """
        for place in joints:
            servo = self._config.servos[place]
            if self._bus.read(servo, table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED:
                return place
        return None

    def hardware_error(self, joint: int) -> int:
        """The bits of one joint's servo. Raises BusError, PortLostError."""
        return self._servos.hardware_error(joint)

    def close(self) -> None:
        """Close the port."""
        self._bus.close()
