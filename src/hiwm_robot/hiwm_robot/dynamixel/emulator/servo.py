# SPDX-License-Identifier: Apache-2.0
"""One emulated X-series servo: its control table, its motion and its ways to fail.

Position control and current control are emulated. In position control the output follows the goal
with a first-order lag, no faster than the profile velocity or the model's top speed allow. In
current control, and with the torque off, it stays where it is put, unless an `ArmBody` moves it.
Time is what it is told; nothing here reads a clock.
"""

from __future__ import annotations

from collections import deque
import math

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.control_table import HardwareError, Model, OperatingMode, Register
from hiwm_robot.dynamixel.emulator.packet import StatusError

# 1/s, of the lag; a servo with the factory's gains settles within about 0.15 s.
STIFFNESS = 30.0
REBOOT_TIME = 0.3  # s without an answer
ROOM_TEMPERATURE = 25
# Of the current limit: what motion at top speed takes in the open.
MOTION_SHARE = 0.2
# rad/s, below which it counts as still.
STILL = 0.02
KEPT_GOALS = 1000
# s above the load that a servo bears before it shuts down by overload.
OVERLOAD_TIME = 0.5
FACTORY: dict[Register, int] = {
    table.FIRMWARE_VERSION: 46,
    table.BAUD_RATE: 3,
    table.RETURN_DELAY: 250,
    table.OPERATING_MODE: OperatingMode.POSITION,
    table.TEMPERATURE_LIMIT: 72,
    table.MAX_VOLTAGE_LIMIT: 160,
    table.MIN_VOLTAGE_LIMIT: 95,
    table.CURRENT_LIMIT: 1193,
    table.MAX_POSITION_LIMIT: table.TICKS_PER_TURN - 1,
    table.SHUTDOWN: HardwareError.OVERLOAD
    | HardwareError.ELECTRICAL_SHOCK
    | HardwareError.OVERHEATING,
    table.STATUS_RETURN_LEVEL: 2,
    table.POSITION_P_GAIN: 800,
    table.PRESENT_VOLTAGE: 120,
    table.PRESENT_TEMPERATURE: ROOM_TEMPERATURE,
}
GAIN_RESET = {table.POSITION_P_GAIN: 800, table.POSITION_I_GAIN: 0, table.POSITION_D_GAIN: 0}
GOALS = (table.GOAL_POSITION, table.GOAL_CURRENT)
CURRENT_MODES = (OperatingMode.CURRENT, OperatingMode.CURRENT_BASED_POSITION)


class EmulatedServo:
    """A servo on the bus.

    Args:
        number: Its id.
        model: Which one.
        position: rad from 0, where the output is at the beginning.
        baud_rate: What its register says; one of `control_table.BAUD_CODES`.

    Attributes:
        load: Share of the current limit that something outside pushes with; above 1 the servo
            cannot hold it, and shuts down by overload after a while.
        heat: degC above the room.
        carried: Whether an `ArmBody` moves it where it holds no position.
        push: N m, with which a hand turns the output; only an `ArmBody` feels it.
        goals: The newest goal positions that were accepted, rad, newest last.
        lowest: rad, of all of them since `forget_goals`.
        highest: rad.
        goal_age: s since the goal was another one.
        still_for: s since it moved.
    """

    def __init__(
        self, number: int, model: Model, position: float = math.pi, baud_rate: int = 1_000_000
    ) -> None:
        self.number = number
        self.model = model
        self.load = 0.0
        self.heat = 0.0
        self.carried = False
        self.push = 0.0
        self.goals: deque[float] = deque(maxlen=KEPT_GOALS)
        self.goal_age = self.still_for = 0.0
        self.forget_goals()
        self._table = bytearray(table.TABLE_SIZE)
        self._position = position
        self._velocity = 0.0
        self._overloaded = 0.0
        self._silent_until = -math.inf
        self._quiet = 0.0
        self._writable = _writable_bytes()
        for register, value in FACTORY.items():
            self._set(register, int(value))
        self._set(table.MODEL_NUMBER, model.number)
        self._set(table.ID, number)
        self._set(table.BAUD_RATE, table.BAUD_CODES[baud_rate])
        self._power_up()

    # -- what a test looks at --------------------------------------------------------------------

    @property
    def position(self) -> float:
        """rad, exactly, whatever the register can show."""
        return self._position

    @property
    def velocity(self) -> float:
        """rad/s."""
        return self._velocity

    @property
    def torque(self) -> bool:
        """Whether the motor is powered."""
        return bool(self._table[table.TORQUE_ENABLE.address])

    @property
    def holds_position(self) -> bool:
        """Whether the motor is powered and goes to a position, whatever pushes."""
        return self.torque and self.value(table.OPERATING_MODE) != OperatingMode.CURRENT

    @property
    def current(self) -> float:
        """A, that current control drives the motor with; 0 in any other mode."""
        if not self.torque or self.holds_position or self.model.current_unit is None:
            return 0.0
        limit = self.value(table.CURRENT_LIMIT)
        return max(-limit, min(limit, self.value(table.GOAL_CURRENT))) * self.model.current_unit

    @property
    def return_level(self) -> int:
        """Which instructions it answers: 0 pings, 1 reads too, 2 all."""
        return self.value(table.STATUS_RETURN_LEVEL)

    @property
    def return_delay(self) -> float:
        """s, before it answers."""
        return self.value(table.RETURN_DELAY) * table.RETURN_DELAY_TICK

    def value(self, register: Register) -> int:
        """A register's count."""
        data = self._table[register.address : register.address + register.size]
        return int.from_bytes(data, 'little', signed=register.signed)

    def put(self, position: float, velocity: float = 0.0) -> None:
        """Move the output to a position in rad, where it turns with rad/s."""
        self._position, self._velocity = position, velocity

    def forget_goals(self) -> None:
        """Look at goals anew."""
        self.goals.clear()
        self.lowest, self.highest = math.inf, -math.inf

    def fail(self, bits: HardwareError) -> None:
        """A hardware error: the torque is off and the alert is set until a reboot."""
        self._set(table.HARDWARE_ERROR, self.value(table.HARDWARE_ERROR) | bits)
        if bits & self.value(table.SHUTDOWN):
            self._set(table.TORQUE_ENABLE, 0)

    # -- time ------------------------------------------------------------------------------------

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._quiet += seconds
        self.goal_age += seconds
        self.still_for += seconds
        watchdog = self.value(table.BUS_WATCHDOG)
        if watchdog > 0 and self.torque and self._quiet > watchdog * table.WATCHDOG_TICK:
            # It stops where it is, and takes no goal until the watchdog is cleared. In current
            # control it is free then, as users of real ones have found.
            self._set(table.BUS_WATCHDOG, table.WATCHDOG_TRIPPED)
            self._set(table.GOAL_CURRENT, 0)
            self._set(table.GOAL_POSITION, round(self._position / table.RADIANS_PER_TICK))
            self.goal_age = 0.0
        if self.holds_position:
            self._move(seconds)
        elif not self.carried:
            self._velocity = 0.0
        if self.torque:
            self._strain(seconds)
        else:
            self._overloaded = 0.0
        if abs(self._velocity) > STILL:
            self.still_for = 0.0
        if self.heat and ROOM_TEMPERATURE + self.heat > self.value(table.TEMPERATURE_LIMIT):
            self.fail(HardwareError.OVERHEATING)

    def hear(self) -> None:
        """An instruction passed on the bus, for whomever: the bus watchdog begins anew."""
        self._quiet = 0.0

    def answers(self, now: float) -> bool:
        """Whether it is up at a time (s)."""
        return now >= self._silent_until

    def reboot(self, now: float) -> None:
        """What is not in the EEPROM is lost, errors are cleared, and it is silent for a while."""
        first_in_ram = table.TORQUE_ENABLE.address
        self._table[first_in_ram:] = bytes(table.TABLE_SIZE - first_in_ram)
        for register, value in FACTORY.items():
            if not register.eeprom:
                self._set(register, int(value))
        self._silent_until = now + REBOOT_TIME
        self._power_up()

    # -- instructions ----------------------------------------------------------------------------

    @property
    def alert(self) -> int:
        """The alert bit of every status packet."""
        return StatusError.ALERT if self.value(table.HARDWARE_ERROR) else 0

    def read(self, address: int, size: int) -> tuple[int, bytes]:
        """Error and bytes of a part of the table."""
        if size < 1 or address + size > table.TABLE_SIZE:
            return StatusError.DATA_RANGE, b''
        self._show()
        return StatusError.NONE, bytes(self._table[address : address + size])

    def write(self, address: int, data: bytes) -> int:
        """Write a part of the table; returns the error."""
        end = address + len(data)
        if not data or end > table.TABLE_SIZE:
            return StatusError.DATA_RANGE
        if not all(self._writable[address:end]):
            return StatusError.ACCESS
        touched = [
            register
            for register in table.REGISTERS
            if register.address < end and register.end > address
        ]
        if self.torque and any(register.eeprom for register in touched):
            return StatusError.ACCESS
        tripped = self.value(table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED
        if tripped and any(register in GOALS for register in touched):
            return StatusError.DATA_RANGE
        if self.value(table.HARDWARE_ERROR) and table.TORQUE_ENABLE in touched and any(data):
            return StatusError.RESULT_FAIL
        before = bytes(self._table)
        self._table[address:end] = data
        if not self._mode_is_known(touched):
            self._table[:] = before
            return StatusError.DATA_RANGE
        if not self._goal_is_allowed(touched):
            self._table[:] = before
            return StatusError.DATA_LIMIT
        self._after_write(touched, before)
        return StatusError.NONE

    def _mode_is_known(self, touched: list[Register]) -> bool:
        if table.OPERATING_MODE not in touched or self.model.current_unit is not None:
            return True
        return self.value(table.OPERATING_MODE) not in CURRENT_MODES

    def _goal_is_allowed(self, touched: list[Register]) -> bool:
        if table.GOAL_CURRENT in touched:
            most = self.value(table.CURRENT_LIMIT)
            if not -most <= self.value(table.GOAL_CURRENT) <= most:
                return False
        if table.GOAL_POSITION not in touched:
            return True
        if self.value(table.OPERATING_MODE) != OperatingMode.POSITION:
            return True
        low, high = self.value(table.MIN_POSITION_LIMIT), self.value(table.MAX_POSITION_LIMIT)
        return low <= self.value(table.GOAL_POSITION) <= high

    def _after_write(self, touched: list[Register], before: bytes) -> None:
        if table.GOAL_POSITION in touched:
            self._note_goal(before)
        if table.OPERATING_MODE in touched:
            # The e-manual: a change of the mode resets the gains, the profile, and the goal current
            # to the whole current limit.
            for register, value in GAIN_RESET.items():
                self._set(register, value)
            self._set(table.PROFILE_VELOCITY, 0)
            self._set(table.GOAL_CURRENT, self.value(table.CURRENT_LIMIT))
        if (
            table.TORQUE_ENABLE in touched
            and self.torque
            and not before[table.TORQUE_ENABLE.address]
        ):
            # Without a goal of its own the servo stays where it is when the torque comes.
            self._set(table.GOAL_POSITION, round(self._position / table.RADIANS_PER_TICK))

    def _note_goal(self, before: bytes) -> None:
        register = table.GOAL_POSITION
        goal = self.value(register) * table.RADIANS_PER_TICK
        self.goals.append(goal)
        self.lowest, self.highest = min(self.lowest, goal), max(self.highest, goal)
        if self._table[register.address : register.end] != before[register.address : register.end]:
            self.goal_age = 0.0

    # -- inside ----------------------------------------------------------------------------------

    def _move(self, seconds: float) -> None:
        goal = self.value(table.GOAL_POSITION) * table.RADIANS_PER_TICK
        profile = self.value(table.PROFILE_VELOCITY) * table.RADIANS_PER_SECOND
        fastest = min(profile or math.inf, self.model.top_speed)
        # Steps short against the lag, so that the motion does not depend on how time is cut.
        left = seconds
        while left > 1e-9:
            step = min(left, 0.2 / STIFFNESS)
            wanted = 0.0 if abs(self.load) >= 1.0 else STIFFNESS * (goal - self._position)
            self._velocity = max(-fastest, min(fastest, wanted))
            self._position += self._velocity * step
            left -= step

    def _strain(self, seconds: float) -> None:
        self._overloaded = self._overloaded + seconds if abs(self.load) > 1.0 else 0.0
        if self._overloaded > OVERLOAD_TIME:
            self.fail(HardwareError.OVERLOAD)

    def _show(self) -> None:
        """The present values in the table."""
        self._set(table.PRESENT_POSITION, round(self._position / table.RADIANS_PER_TICK))
        self._set(table.PRESENT_VELOCITY, round(self._velocity / table.RADIANS_PER_SECOND))
        self._set(table.PRESENT_CURRENT, max(-32768, min(32767, self._present_current())))
        self._set(table.PRESENT_TEMPERATURE, min(255, round(ROOM_TEMPERATURE + self.heat)))

    def _present_current(self) -> int:
        """Counts; of the load where the model measures no current."""
        unit = self.model.current_unit
        if unit is not None and not self.holds_position:
            return round(self.current / unit)
        share = self.load if self.torque else 0.0
        share += MOTION_SHARE * self._velocity / self.model.top_speed
        return round(share * (1000 if unit is None else self.value(table.CURRENT_LIMIT)))

    def _power_up(self) -> None:
        self._velocity = self._overloaded = self._quiet = 0.0
        self._set(table.GOAL_CURRENT, self.value(table.CURRENT_LIMIT))
        self._set(table.GOAL_POSITION, round(self._position / table.RADIANS_PER_TICK))

    def _set(self, register: Register, count: int) -> None:
        self._table[register.address : register.address + register.size] = register.pack(int(count))


def _writable_bytes() -> bytearray:
    """1 for each byte of the table that a write may touch."""
    writable = bytearray(b'\x01' * table.TABLE_SIZE)
    for register in table.REGISTERS:
        if not register.writable:
            writable[register.address : register.end] = bytes(register.size)
    return writable
