# SPDX-License-Identifier: Apache-2.0
"""Emulated servos that keep what they are told of ids and baud rates, on one wire on which two that
speak at once are heard by nobody.
"""

from __future__ import annotations

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.emulator.bus import BITS_PER_BYTE, EmulatedBus
from hiwm_robot.dynamixel.emulator.packet import BROADCAST, Decoder, Instruction
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo
from hiwm_robot.dynamixel.emulator.virtual_port import VirtualPort

RATES = {code: rate for rate, code in table.BAUD_CODES.items()}
SLOT = 0.003  # s, the turn of each id in the answers to a broadcast ping


class SharedWire:
    """As `EmulatedBus`, for any servos; each has a bus of its own to the wire.

    Args:
        servos: Their ids need not differ.
    """

    def __init__(self, *servos: EmulatedServo) -> None:
        self.baud_rate = 57600
        self._buses = [
            EmulatedBus([servo], RATES[servo.value(table.BAUD_RATE)]) for servo in servos
        ]
        self._servos = servos

    def wire_time(self, count: int) -> float:
        """s that so many bytes take."""
        return count * BITS_PER_BYTE / self.baud_rate

    def pass_time(self, now: float) -> None:
        """See `EmulatedBus`."""
        for bus in self._buses:
            bus.pass_time(now)

    def receive(self, data: bytes, now: float) -> list[tuple[float, bytes]]:
        """See `EmulatedBus`."""
        (packet,) = Decoder().feed(data)
        to_all = packet.servo == BROADCAST and packet.instruction == Instruction.PING
        spoken: dict[float, bytes] = {}
        for bus, servo in zip(self._buses, self._servos, strict=True):
            slot = SLOT * servo.number if to_all else 0.0
            for at, answer in bus.receive(data, now, self.baud_rate):
                before = spoken.get(at + slot)
                # A line that one of them pulls low is low.
                spoken[at + slot] = (
                    answer
                    if before is None
                    else bytes(one & other for one, other in zip(before, answer, strict=True))
                )
            servo.number = servo.value(table.ID)
            bus.servos = {servo.number: servo}
            bus.baud_rate = RATES[servo.value(table.BAUD_RATE)]
        return sorted(spoken.items())


class WirePort(VirtualPort):
    """A port at any baud rate."""

    bus: SharedWire  # type: ignore[assignment]

    def setBaudRate(self, baud_rate: int) -> bool:  # noqa: N802
        """As the SDK has it."""
        self.bus.baud_rate = baud_rate
        return True


def servo(
    number: int, model: str = 'XL330-M288', *, rate: int = 57600, at: float = 3.0
) -> EmulatedServo:
    """One servo."""
    return EmulatedServo(number, table.MODELS[model], at, rate)
