# SPDX-License-Identifier: Apache-2.0
"""Servos on a bus through the vendor's SDK: names and units instead of addresses, and errors that
name the servo and the port.

The SDK's GroupSyncRead asks for all states at once; the answers are taken packet by packet, because
it tells neither which servo was silent nor whose alert bit is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dynamixel_sdk import (
    BROADCAST_ID,
    COMM_RX_CORRUPT,
    COMM_RX_TIMEOUT,
    COMM_SUCCESS,
    GroupSyncRead,
    GroupSyncWrite,
    Protocol2PacketHandler,
)

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.control_table import Register

ALERT = 0x80
# Of single reads and writes while the arm is set up; the control loop never repeats.
ATTEMPTS = 8
# s before the next attempt. An answer that comes late bears no sign of which question it answers,
# so it has to be gone before another is asked.
SETTLE = 0.02


class BusError(HiwmError):
    """One exchange with a servo failed.

    Attributes:
        servo: Its id; -1: no single one.
    """

    def __init__(self, message: str, servo: int = -1) -> None:
        super().__init__(message, ErrorCode.TIMED_OUT)
        self.servo = servo


class Port(Protocol):
    """What the SDK's packet handler needs of a port, besides its own conventions."""

    port_name: str
    is_open: bool
    is_using: bool

    def openPort(self) -> bool:  # noqa: N802
        """Open it; raises ConfigurationError."""
        ...

    def closePort(self) -> None:  # noqa: N802
        """Close it."""
        ...

    def rest(self, seconds: float) -> None:
        """Let the line fall silent."""
        ...


@dataclass(frozen=True)
class ServoState:
    """What one servo says of itself in every turn: counts of the registers of the same names."""

    current: int
    velocity: int
    position: int
    voltage: int
    temperature: int
    alert: bool


class ServoBus:
    """Reads and writes registers.

    Args:
        port: An open or closed port.
        names: What sentences call each servo, by id.

    Attributes:
        lost: Exchanges of the control loop that failed.
    """

    def __init__(self, port: Port, names: Mapping[int, str]) -> None:
        self._port = port
        self._names = names
        self._packets = Protocol2PacketHandler()
        self._states: dict[tuple[int, ...], GroupSyncRead] = {}
        self._goals: dict[Register, GroupSyncWrite] = {}
        self.lost = 0

    @property
    def is_open(self) -> bool:
        """Whether the port is open."""
        return self._port.is_open

    def open(self) -> None:
        """Open the port. Raises ConfigurationError."""
        self._port.is_using = False
        if not self._port.is_open:
            self._port.openPort()

    def close(self) -> None:
        """Close the port."""
        self._port.closePort()

    # -- one servo -------------------------------------------------------------------------------

    def ping(self, servo: int) -> int:
        """The model number of a servo that is there. Raises BusError, PortLostError."""
        for attempt in range(ATTEMPTS):
            self._port.is_using = False
            _, result, _ = self._packets.ping(self._port, servo)
            if result == COMM_SUCCESS:
                # The SDK takes any answer for that of a ping; a read is looked at more closely.
                return self.read(servo, table.MODEL_NUMBER)
            if attempt == ATTEMPTS - 1:
                raise self._failure(servo, result)
            self._port.rest(SETTLE)
        raise AssertionError('unreachable')

    def read(self, servo: int, register: Register, attempts: int = ATTEMPTS) -> int:
        """A register's count. Raises BusError, PortLostError."""
        for attempt in range(attempts):
            self._port.is_using = False
            data, result, error = self._packets.readTxRx(
                self._port, servo, register.address, register.size
            )
            # A damaged packet may be whole and yet not the one that was asked for.
            if result == COMM_SUCCESS and not error & ~ALERT and len(data) == register.size:
                return register.unpack(bytes(data), register.address)
            if attempt == attempts - 1:
                raise self._failure(servo, result, error, f'{register.name} cannot be read')
            self._port.rest(SETTLE)
        raise AssertionError('unreachable')

    def write(self, servo: int, register: Register, count: int) -> None:
        """Set a register, and make sure that it is. Raises BusError, PortLostError."""
        for attempt in range(ATTEMPTS):
            self._port.is_using = False
            result, error = self._packets.writeTxRx(
                self._port, servo, register.address, register.size, register.pack(count)
            )
            if result == COMM_SUCCESS and not error & ~ALERT:
                return
            if attempt == ATTEMPTS - 1:
                what = f'{register.name} cannot be set to {count}'
                raise self._failure(servo, result, error, what)
            self._port.rest(SETTLE)

    def write_all(self, register: Register, count: int) -> None:
        """Set a register of every servo at once; nobody answers. Raises PortLostError."""
        self._port.is_using = False
        self._packets.writeTxOnly(
            self._port, BROADCAST_ID, register.address, register.size, register.pack(count)
        )

    def reboot(self, servo: int) -> None:
        """Start a servo anew, which clears its hardware errors. Raises BusError, PortLostError."""
        self._port.is_using = False
        result, error = self._packets.reboot(self._port, servo)
        if result != COMM_SUCCESS:
            raise self._failure(servo, result, error, 'it cannot be rebooted')

    # -- all servos, in every turn ---------------------------------------------------------------

    def read_states(self, servos: Sequence[int]) -> list[ServoState]:
        """Every servo's state, in the order asked for. Raises BusError, PortLostError."""
        self._port.is_using = False
        result = self._group(tuple(servos)).txPacket()
        states = []
        for servo in servos:
            data, error = [], 0
            if result == COMM_SUCCESS:
                data, result, error = self._packets.readRx(self._port, servo, table.STATE_SIZE)
            if result != COMM_SUCCESS or error & ~ALERT or len(data) != table.STATE_SIZE:
                self.lost += 1
                raise self._failure(servo, result, error, 'its state cannot be read')
            states.append(_state(bytes(data), bool(error & ALERT)))
        return states

    def _group(self, servos: tuple[int, ...]) -> GroupSyncRead:
        if servos not in self._states:
            group = GroupSyncRead(self._port, self._packets, table.STATE_START, table.STATE_SIZE)
            for servo in servos:
                group.addParam(servo)
            self._states[servos] = group
        return self._states[servos]

    def write_goals(
        self,
        servos: Sequence[int],
        counts: Sequence[int],
        register: Register = table.GOAL_POSITION,
    ) -> None:
        """Send every servo its goal in one packet. Raises BusError, PortLostError."""
        self._port.is_using = False
        if register not in self._goals:
            self._goals[register] = GroupSyncWrite(
                self._port, self._packets, register.address, register.size
            )
        goals = self._goals[register]
        goals.clearParam()
        for servo, count in zip(servos, counts, strict=True):
            goals.addParam(servo, register.pack(count))
        result = goals.txPacket()
        if result != COMM_SUCCESS:
            self.lost += 1
            raise BusError(f'the port {self._port.port_name} takes no goals; look to its adapter')

    def _failure(self, servo: int, result: int, error: int = 0, what: str = '') -> BusError:
        name = self._names.get(servo, '')
        who = f'servo {servo}{f" ({name})" if name else ""} on {self._port.port_name}'
        if result == COMM_RX_TIMEOUT:
            return BusError(
                f'{who} does not answer; check its cable and power, its id and the baud rate', servo
            )
        if result == COMM_RX_CORRUPT:
            return BusError(
                f'the answer of {who} is damaged; check the cable and that each id is there once',
                servo,
            )
        reason = (
            self._packets.getTxRxResult(result)
            if result != COMM_SUCCESS
            else self._packets.getRxPacketError(error & ~ALERT)
        )
        reason = reason.rpartition('] ')[2].rstrip('!').lower() or 'its answer is too short'
        return BusError(f'{who}: {what or "it does not do what it is told"} ({reason})', servo)


def _state(data: bytes, alert: bool) -> ServoState:
    start = table.STATE_START
    return ServoState(
        current=table.PRESENT_CURRENT.unpack(data, start),
        velocity=table.PRESENT_VELOCITY.unpack(data, start),
        position=table.PRESENT_POSITION.unpack(data, start),
        voltage=table.PRESENT_VOLTAGE.unpack(data, start),
        temperature=table.PRESENT_TEMPERATURE.unpack(data, start),
        alert=alert,
    )
