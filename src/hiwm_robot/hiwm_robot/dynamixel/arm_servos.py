# SPDX-License-Identifier: Apache-2.0
"""The servos of one arm as joints: set-up, state, goals and torque, all in rad."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_check import CATCH_UP
from hiwm_robot.dynamixel.arm_config import ArmConfig, Joint
from hiwm_robot.dynamixel.arm_safety import Measured
from hiwm_robot.dynamixel.bus import ATTEMPTS, BusError, ServoBus
from hiwm_robot.dynamixel.control_table import OperatingMode, model_name
from hiwm_robot.dynamixel.torque_off import TorqueOff, tell_all

FloatArray = NDArray[np.float64]

REBOOT_PAUSE = 0.5  # s, until a servo that was rebooted answers again


def open_and_check(bus: ServoBus, config: ArmConfig, advice: str) -> None:
    """Open the port and look whether every servo is of the model that the arm's file names.

    Before anybody is asked all servos are told to let go: one that does not answer keeps no other
    stiff.

    Args:
        advice: What to do if one is not; ends the sentence.

    Raises:
        ConfigurationError: The port cannot be opened, or a model is not as the file says.
        BusError, PortLostError: A servo does not answer.
    """
    bus.open()
    tell_all(bus)
    for joint in config.joints:
        number = bus.ping(joint.servo)
        if number != joint.model.number:
            raise ConfigurationError(
                f"servo {joint.servo} ({joint.name}) of '{config.name}' is {model_name(number)}, "
                f'its file says {joint.model.name}; {advice}'
            )


class ArmServos:
    """One arm's servos; belongs to one thread.

    Args:
        config: The arm.
        bus: Where its servos are.
        sleep: Waits so many s.

    Attributes:
        torque_off: Takes their torque off.
    """

    def __init__(self, config: ArmConfig, bus: ServoBus, sleep: Callable[[float], None]) -> None:
        self._config = config
        self._bus = bus
        self._sleep = sleep
        self._current_units = np.array(
            [joint.model.current_unit or np.nan for joint in config.joints]
        )
        self._directions = np.array([joint.direction for joint in config.joints], np.float64)
        self._offsets = np.array([joint.offset for joint in config.joints])
        self.torque_off = TorqueOff(bus, config.servos)
        self._watchdog = round(config.limits.bus_watchdog / table.WATCHDOG_TICK)
        self._looked_at = 0

    @property
    def is_open(self) -> bool:
        """Whether the port is."""
        return self._bus.is_open

    @property
    def stiff(self) -> str:
        """Which servos may have torque although none is to have any, in one sentence; or empty."""
        if not self.torque_off.wanted or not (left := self.torque_off.unsure):
            return ''
        names = [f'{one.servo} ({one.name})' for one in self._config.joints if one.servo in left]
        who, whose = ('servo', 'its') if len(names) == 1 else ('servos', 'their')
        return (
            f'{who} {", ".join(names)} could not be told and may still have torque; switch {whose} '
            'supply off'
        )

    def close(self) -> None:
        """Close the port."""
        self._bus.close()

    def set_up(self) -> None:
        """Open the port, look who is there, and set every servo up, without torque.

        Raises:
            ConfigurationError: The port cannot be opened, or a model is not as the file says.
            BusError, PortLostError: A servo does not answer.
        """
        open_and_check(self._bus, self._config, 'correct the file or the wiring')
        for joint in self._config.joints:
            self._set_up(joint)
        self.torque_off.confirm()

    def _set_up(self, joint: Joint) -> None:
        if self._bus.read(joint.servo, table.HARDWARE_ERROR):
            # Only a reboot clears it; what has caused it may be there still, and then it returns.
            self._bus.reboot(joint.servo)
            self._sleep(REBOOT_PAUSE)
        write = self._bus.write
        write(joint.servo, table.TORQUE_ENABLE, 0)
        write(joint.servo, table.BUS_WATCHDOG, 0)
        limits = sorted((joint.count_of(joint.low), joint.count_of(joint.high)))
        wanted = [
            (table.OPERATING_MODE, int(OperatingMode.POSITION)),
            (table.HOMING_OFFSET, 0),
            (table.DRIVE_MODE, 0),
            (table.MIN_POSITION_LIMIT, limits[0]),
            (table.MAX_POSITION_LIMIT, limits[1]),
            (table.RETURN_DELAY, 0),
        ]
        if joint.model.current_unit is not None and joint.current_limit is not None:
            counts = round(joint.current_limit / joint.model.current_unit)
            wanted.append((table.CURRENT_LIMIT, counts))
        for register, count in wanted:
            # The EEPROM wears out with writes.
            if self._bus.read(joint.servo, register) != count:
                write(joint.servo, register, count)
        for register, gain in zip(
            (table.POSITION_P_GAIN, table.POSITION_I_GAIN, table.POSITION_D_GAIN),
            joint.gains,
            strict=True,
        ):
            write(joint.servo, register, gain)
        # The goal itself is slower; this is what a servo that lagged may catch up with.
        fastest = CATCH_UP * joint.max_speed / table.RADIANS_PER_SECOND
        write(joint.servo, table.PROFILE_VELOCITY, max(1, round(fastest)))

    def read(self) -> Measured:
        """What all servos report now. Raises BusError, PortLostError."""
        states = self._bus.read_states(self._config.servos)
        counts = np.array([state.position for state in states], np.float64)
        speeds = np.array([state.velocity for state in states]) * table.RADIANS_PER_SECOND
        return Measured(
            angles=self._directions * (counts * table.RADIANS_PER_TICK - self._offsets),
            speeds=self._directions * speeds,
            currents=np.array([state.current for state in states]) * self._current_units,
            voltages=np.array([state.voltage for state in states]) * table.PRESENT_VOLTAGE.unit,
            temperatures=np.array([float(state.temperature) for state in states]),
            alerts=np.array([state.alert for state in states]),
        )

    def read_patiently(self) -> Measured:
        """The same where nothing moves yet, so that a lost packet is just asked for again."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self.read()
            except BusError:
                continue
        return self.read()

    def send(self, goal: FloatArray) -> FloatArray:
        """Tell every servo its goal (J,) in rad; returns it as told, in whole counts.

        Raises:
            BusError, PortLostError.
        """
        joints = self._config.joints
        counts = [joint.count_of(float(angle)) for joint, angle in zip(joints, goal, strict=True)]
        self._bus.write_goals(self._config.servos, counts)
        return np.array(
            [joint.angle_of(count) for joint, count in zip(joints, counts, strict=True)]
        )

    def hardware_error(self, joint: int) -> int:
        """The bits of one joint's servo. Raises BusError, PortLostError."""
        return self._bus.read(self._config.servos[joint], table.HARDWARE_ERROR)

    def torque_on(self, goal: FloatArray, *, dry_run: bool) -> None:
        """Bus watchdog, goal (J,) in rad, and then the torque. Raises BusError, PortLostError."""
        if not dry_run:
            self.torque_off.forget()
        for joint, angle in zip(self._config.joints, goal, strict=True):
            self._bus.write(joint.servo, table.BUS_WATCHDOG, 0)
            self._bus.write(joint.servo, table.BUS_WATCHDOG, self._watchdog)
            self._bus.write(joint.servo, table.GOAL_POSITION, joint.count_of(float(angle)))
            self._bus.write(joint.servo, table.TORQUE_ENABLE, int(not dry_run))

    def rearm_watchdogs(self) -> bool:
        """Clear those that have tripped, since such a servo takes no goals; whether one had.

        Raises:
            HiwmError: A servo has started anew: its watchdog is none that was set.
            BusError, PortLostError.
        """
        tripped = []
        for joint in self._config.joints:
            count = self._bus.read(joint.servo, table.BUS_WATCHDOG)
            if count == table.WATCHDOG_TRIPPED:
                tripped.append(joint.servo)
            elif count != self._watchdog:
                raise _started_anew(joint)
        for servo in tripped:
            self._bus.write(servo, table.BUS_WATCHDOG, 0)
            self._bus.write(servo, table.BUS_WATCHDOG, self._watchdog)
        return bool(tripped)

    def look_at_next(self) -> None:
        """Of the servos that are to have torque, see whether the next one has: another each time.

        A servo whose power dips is back before its silence tells anybody.

        Raises:
            HiwmError: It has started anew.
            BusError: It was not heard this once.
            PortLostError.
        """
        if self.torque_off.wanted or not self.torque_off.unsure:
            return
        joint = self._config.joints[self._looked_at % len(self._config.joints)]
        self._looked_at += 1
        if self._bus.read(joint.servo, table.TORQUE_ENABLE, attempts=1):
            return
        # What an error has switched off says so itself, by its alert.
        if not self._bus.read(joint.servo, table.HARDWARE_ERROR, attempts=1):
            raise _started_anew(joint)


def _started_anew(joint: Joint) -> HiwmError:
    return HiwmError(
        f'servo {joint.servo} ({joint.name}) has started anew; look to its power, then reset the '
        'arm',
        ErrorCode.NOT_READY,
    )
