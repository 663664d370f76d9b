# SPDX-License-Identifier: Apache-2.0
"""The control table of the X series as data: where each value lies and in which unit.

Source: the e-manual's control tables of the X series (Protocol 2.0), which agree in all that is
listed here. The models differ in what register 126 holds: a current, or with the XL430 and XC430 a
load in 0.1 % of the largest, and those two have no current limit either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
import math

TICKS_PER_TURN = 4096
RADIANS_PER_TICK = math.tau / TICKS_PER_TURN
# 0.229 revolutions per minute.
RADIANS_PER_SECOND = 0.229 * math.tau / 60.0
# s, the unit of the bus watchdog.
WATCHDOG_TICK = 0.020
# Counts, what Profile Velocity takes.
LARGEST_VELOCITY = 32767
# s, the unit of the return delay time.
RETURN_DELAY_TICK = 2e-6


@dataclass(frozen=True)
class Register:
    """One value of the control table.

    Attributes:
        name: As the e-manual calls it.
        address: Of its lowest byte.
        size: Bytes, little endian.
        unit: What one count is worth, in `quantity`.
        quantity: The SI unit, or '' for a plain number.
        signed: Two's complement.
        writable: A write is answered with an access error otherwise.
        eeprom: Kept without power, and not to be written while the torque is on.
    """

    name: str
    address: int
    size: int
    unit: float = 1.0
    quantity: str = ''
    signed: bool = False
    writable: bool = True
    eeprom: bool = False

    @property
    def end(self) -> int:
        """The address after it."""
        return self.address + self.size

    def unpack(self, data: bytes, start: int = 0) -> int:
        """The count in a block of the table that begins at the address `start`."""
        offset = self.address - start
        return int.from_bytes(data[offset : offset + self.size], 'little', signed=self.signed)

    def pack(self, count: int) -> bytes:
        """The bytes of a count. Raises OverflowError if it does not fit."""
        return count.to_bytes(self.size, 'little', signed=self.signed)


MODEL_NUMBER = Register('Model Number', 0, 2, writable=False, eeprom=True)
FIRMWARE_VERSION = Register('Firmware Version', 6, 1, writable=False, eeprom=True)
ID = Register('ID', 7, 1, eeprom=True)
BAUD_RATE = Register('Baud Rate', 8, 1, eeprom=True)
RETURN_DELAY = Register('Return Delay Time', 9, 1, RETURN_DELAY_TICK, 's', eeprom=True)
DRIVE_MODE = Register('Drive Mode', 10, 1, eeprom=True)
OPERATING_MODE = Register('Operating Mode', 11, 1, eeprom=True)
HOMING_OFFSET = Register('Homing Offset', 20, 4, RADIANS_PER_TICK, 'rad', signed=True, eeprom=True)
TEMPERATURE_LIMIT = Register('Temperature Limit', 31, 1, 1.0, 'degC', eeprom=True)
MAX_VOLTAGE_LIMIT = Register('Max Voltage Limit', 32, 2, 0.1, 'V', eeprom=True)
MIN_VOLTAGE_LIMIT = Register('Min Voltage Limit', 34, 2, 0.1, 'V', eeprom=True)
CURRENT_LIMIT = Register('Current Limit', 38, 2, eeprom=True)
MAX_POSITION_LIMIT = Register('Max Position Limit', 48, 4, RADIANS_PER_TICK, 'rad', eeprom=True)
MIN_POSITION_LIMIT = Register('Min Position Limit', 52, 4, RADIANS_PER_TICK, 'rad', eeprom=True)
SHUTDOWN = Register('Shutdown', 63, 1, eeprom=True)

TORQUE_ENABLE = Register('Torque Enable', 64, 1)
STATUS_RETURN_LEVEL = Register('Status Return Level', 68, 1)
HARDWARE_ERROR = Register('Hardware Error Status', 70, 1, writable=False)
POSITION_D_GAIN = Register('Position D Gain', 80, 2)
POSITION_I_GAIN = Register('Position I Gain', 82, 2)
POSITION_P_GAIN = Register('Position P Gain', 84, 2)
BUS_WATCHDOG = Register('Bus Watchdog', 98, 1, WATCHDOG_TICK, 's', signed=True)
GOAL_CURRENT = Register('Goal Current', 102, 2, signed=True)
PROFILE_VELOCITY = Register('Profile Velocity', 112, 4, RADIANS_PER_SECOND, 'rad/s')
GOAL_POSITION = Register('Goal Position', 116, 4, RADIANS_PER_TICK, 'rad', signed=True)
PRESENT_CURRENT = Register('Present Current', 126, 2, signed=True, writable=False)
PRESENT_VELOCITY = Register(
    'Present Velocity', 128, 4, RADIANS_PER_SECOND, 'rad/s', signed=True, writable=False
)
PRESENT_POSITION = Register(
    'Present Position', 132, 4, RADIANS_PER_TICK, 'rad', signed=True, writable=False
)
PRESENT_VOLTAGE = Register('Present Input Voltage', 144, 2, 0.1, 'V', writable=False)
PRESENT_TEMPERATURE = Register('Present Temperature', 146, 1, 1.0, 'degC', writable=False)

REGISTERS = (
    MODEL_NUMBER,
    FIRMWARE_VERSION,
    ID,
    BAUD_RATE,
    RETURN_DELAY,
    DRIVE_MODE,
    OPERATING_MODE,
    HOMING_OFFSET,
    TEMPERATURE_LIMIT,
    MAX_VOLTAGE_LIMIT,
    MIN_VOLTAGE_LIMIT,
    CURRENT_LIMIT,
    MAX_POSITION_LIMIT,
    MIN_POSITION_LIMIT,
    SHUTDOWN,
    TORQUE_ENABLE,
    STATUS_RETURN_LEVEL,
    HARDWARE_ERROR,
    POSITION_D_GAIN,
    POSITION_I_GAIN,
    POSITION_P_GAIN,
    BUS_WATCHDOG,
    GOAL_CURRENT,
    PROFILE_VELOCITY,
    GOAL_POSITION,
    PRESENT_CURRENT,
    PRESENT_VELOCITY,
    PRESENT_POSITION,
    PRESENT_VOLTAGE,
    PRESENT_TEMPERATURE,
)
TABLE_SIZE = 256

# Every value that is read in each turn of the control loop lies in this one block.
STATE_START = PRESENT_CURRENT.address
STATE_SIZE = PRESENT_TEMPERATURE.end - STATE_START

WATCHDOG_TRIPPED = -1


class OperatingMode(IntEnum):
    """Values of the register Operating Mode."""

    CURRENT = 0
    VELOCITY = 1
    POSITION = 3
    EXTENDED_POSITION = 4
    CURRENT_BASED_POSITION = 5
    PWM = 16


class HardwareError(IntFlag):
    """Bits of Hardware Error Status, and of Shutdown: what takes the torque off until a reboot."""

    INPUT_VOLTAGE = 0x01
    OVERHEATING = 0x04
    MOTOR_ENCODER = 0x08
    ELECTRICAL_SHOCK = 0x10
    OVERLOAD = 0x20


BAUD_CODES = {
    9600: 0,
    57600: 1,
    115200: 2,
    1_000_000: 3,
    2_000_000: 4,
    3_000_000: 5,
    4_000_000: 6,
}


@dataclass(frozen=True)
class Model:
    """A servo of the X series.

    Attributes:
        name: As it stands on the label.
        number: Value of the register Model Number.
        current_unit: A for one count of current; None: register 126 holds a load, there is no
            current limit, and it cannot be driven by current.
        largest_current: Counts, the largest that the register Current Limit takes; 0 without one.
        top_speed: rad/s without load, about; the emulator alone uses it.
        stall_torque: N m, at the recommended voltage.
        stall_current: A, at that torque.
    """

    name: str
    number: int
    current_unit: float | None
    largest_current: int
    top_speed: float
    stall_torque: float
    stall_current: float

    @property
    def torque_constant(self) -> float:
        """N m/A at the output: the maker's stall torque by its stall current.

        The e-manual's pages of the models list both under `Specifications`. At small currents the
        gears' friction takes its part, and less comes out.
        """
        return self.stall_torque / self.stall_current


_RPM = math.tau / 60.0
_MODELS = (
    Model('XL330-M077', 1190, 1.0e-3, 1750, 383.0 * _RPM, 0.215, 1.47),
    Model('XL330-M288', 1200, 1.0e-3, 1750, 103.0 * _RPM, 0.52, 1.47),
    Model('XC330-M181', 1230, 1.0e-3, 2352, 129.0 * _RPM, 0.60, 1.80),
    Model('XC330-M288', 1240, 1.0e-3, 2352, 81.0 * _RPM, 0.93, 1.80),
    Model('XC330-T181', 1210, 1.0e-3, 910, 104.0 * _RPM, 0.76, 0.80),
    Model('XC330-T288', 1220, 1.0e-3, 910, 65.0 * _RPM, 0.92, 0.80),
    Model('XL430-W250', 1060, None, 0, 61.0 * _RPM, 1.5, 1.4),
    Model('XC430-W150', 1070, None, 0, 106.0 * _RPM, 1.6, 1.4),
    Model('XC430-W240', 1080, None, 0, 70.0 * _RPM, 1.9, 1.4),
    Model('XM430-W210', 1030, 2.69e-3, 1193, 77.0 * _RPM, 3.0, 2.3),
    Model('XM430-W350', 1020, 2.69e-3, 1193, 46.0 * _RPM, 4.1, 2.3),
    Model('XH430-W210', 1010, 2.69e-3, 648, 50.0 * _RPM, 2.5, 1.3),
    Model('XH430-W350', 1000, 2.69e-3, 648, 30.0 * _RPM, 3.4, 1.3),
    Model('XM540-W150', 1130, 2.69e-3, 2047, 53.0 * _RPM, 7.3, 4.4),
    Model('XM540-W270', 1120, 2.69e-3, 2047, 30.0 * _RPM, 10.6, 4.4),
    Model('XH540-W150', 1110, 2.69e-3, 2047, 70.0 * _RPM, 7.1, 4.9),
    Model('XH540-W270', 1100, 2.69e-3, 2047, 39.0 * _RPM, 9.9, 4.9),
)
MODELS = {model.name: model for model in _MODELS}
MODEL_NAMES = {model.number: model.name for model in _MODELS}


def model_name(number: int) -> str:
    """What a person calls a model number."""
    return MODEL_NAMES.get(number, f'a model unknown here (number {number})')


def error_words(bits: int) -> str:
    """The set bits of Hardware Error Status in words; empty if none is."""
    return ', '.join(
        flag.name.lower().replace('_', ' ') for flag in HardwareError if flag.name and bits & flag
    )
