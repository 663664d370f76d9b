# SPDX-License-Identifier: Apache-2.0
"""Which servos are on a bus, at which baud rate, and whether each id is there once.

Every servo answers a broadcast ping in its turn. Two with one id answer together: their packets
fall on each other, or come one after the other where only one is expected. Both are looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dynamixel_sdk import COMM_RX_TIMEOUT, COMM_SUCCESS, Protocol2PacketHandler

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_check import LARGEST_ID
from hiwm_robot.dynamixel.bus import SETTLE
from hiwm_robot.dynamixel.emulator.packet import BROADCAST, Decoder, Instruction

BAUD_RATES = tuple(
    sorted(table.BAUD_CODES, key=lambda rate: (rate not in {57600, 1_000_000}, rate))
)
# ms that each id may take in the answers to a broadcast ping, as the vendor's SDK has it.
SLOT = 3.0
STATUS_SIZE = 14  # bytes of the answer to a ping
# How often each servo is asked, and the share of damaged answers above which its id is shared.
TRIES = 20
MOST_DAMAGED = 0.1
# ms after a whole answer in which no byte may follow.
QUIET = 5.0


@dataclass(frozen=True)
class FoundServo:
    """A servo that answers.

    Attributes:
        number: Its id.
        baud_rate: Bits/s at which it answers.
        model: Model number; -1: unknown.
        answered: Share of questions that it answered as it should.
        shared: Whether more than one servo has this id.
        voltage: V; NaN: unknown.
        temperature: degC; NaN: unknown.
    """

    number: int
    baud_rate: int
    model: int
    answered: float
    shared: bool
    voltage: float
    temperature: float

    @property
    def words(self) -> str:
        """For a person."""
        kind = 'several servos' if self.shared else table.model_name(self.model)
        return f'id {self.number}: {kind} at {self.baud_rate} baud'


class ServoScan:
    """Looks for servos.

    Args:
        port: An open `ServoPort`, or one that behaves so.
    """

    def __init__(self, port: Any) -> None:
        self._port = port
        self._packets = Protocol2PacketHandler()

    def scan(
        self, rates: Iterable[int] = BAUD_RATES, done: Callable[[], object] = int
    ) -> list[FoundServo]:
        """Every servo that answers, at all baud rates.

        Args:
            done: Called after each rate.

        Raises:
            PortLostError: The port has vanished.
        """
        found = []
        for rate in rates:
            self._port.setBaudRate(rate)
            found += [self._look_at(number, rate) for number in self._numbers()]
            done()
        return found

    def _numbers(self) -> list[int]:
        """The ids at the present baud rate."""
        heard, clean = self._ping_all()
        if clean:
            return sorted(heard)
        # Something answers that cannot be read: each id is asked by itself.
        return [number for number in range(LARGEST_ID + 1) if self._is_there(number)]

    def _ping_all(self) -> tuple[set[int], bool]:
        """Ids that answered a broadcast ping, and whether every answer could be read and each id
        came once.
        """
        port = self._port
        packet = [0] * 10
        packet[4], packet[5], packet[7] = BROADCAST, 3, Instruction.PING
        port.is_using = False
        if self._packets.txPacket(port, packet) != COMM_SUCCESS:
            port.is_using = False
            return set(), True
        port.is_using = False
        byte_time = 10_000.0 / port.getBaudRate()
        port.setPacketTimeoutMillis((STATUS_SIZE * byte_time + SLOT) * (LARGEST_ID + 1) + QUIET)
        decoder, data = Decoder(), b''
        while not port.isPacketTimeout():
            data += bytes(port.readPort(4096))
        answers = [one for one in decoder.feed(data) if one.instruction == Instruction.STATUS]
        numbers = [one.servo for one in answers]
        whole = STATUS_SIZE * len(answers) == len(data)
        return set(numbers), whole and len(numbers) == len(set(numbers))

    def _is_there(self, number: int) -> bool:
        self._port.is_using = False
        _, result, _ = self._packets.ping(self._port, number)
        return bool(result != COMM_RX_TIMEOUT)

    def _look_at(self, number: int, rate: int) -> FoundServo:
        """One id, asked often enough to know whether it is one servo's alone."""
        good = damaged = 0
        for _ in range(TRIES):
            result = self._ask(number, table.PRESENT_POSITION)
            damaged += result not in {COMM_SUCCESS, COMM_RX_TIMEOUT}
            good += result == COMM_SUCCESS
        values = [
            self._value(number, register)
            for register in (table.MODEL_NUMBER, table.PRESENT_VOLTAGE, table.PRESENT_TEMPERATURE)
        ]
        model, voltage, temperature = (float('nan') if one is None else one for one in values)
        return FoundServo(
            number=number,
            baud_rate=rate,
            model=-1 if values[0] is None else int(model),
            answered=good / TRIES,
            shared=damaged > MOST_DAMAGED * TRIES,
            voltage=voltage * table.PRESENT_VOLTAGE.unit,
            temperature=float(temperature),
        )

    def _ask(self, number: int, register: table.Register) -> int:
        """The SDK's result of one read; -1 if more came than one answer."""
        port = self._port
        port.is_using = False
        _, result, _ = self._packets.readTxRx(port, number, register.address, register.size)
        if result != COMM_SUCCESS:
            # A late answer must not be taken for that to the next question.
            port.rest(SETTLE)
            return int(result)
        port.setPacketTimeoutMillis(QUIET)
        return -1 if port.readPort(1) else int(result)

    def _value(self, number: int, register: table.Register) -> int | None:
        for _ in range(TRIES):
            self._port.is_using = False
            data, result, error = self._packets.readTxRx(
                self._port, number, register.address, register.size
            )
            # The alert bit is no error of the reading.
            if result == COMM_SUCCESS and not error & 0x7F and len(data) == register.size:
                return register.unpack(bytes(data), register.address)
        return None
