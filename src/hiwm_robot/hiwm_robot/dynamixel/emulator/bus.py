# SPDX-License-Identifier: Apache-2.0
"""The wire: which bytes come back from which servo, when, and what can go wrong on the way.

Time is given in seconds and may be real or made up, so the same bus serves behind a pseudo terminal
and in a test that passes hours in seconds. A byte takes ten bits of wire time, and every servo
waits its return delay.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import random
from typing import Protocol

from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.emulator.packet import (
    BROADCAST,
    Decoder,
    Instruction,
    Packet,
    StatusError,
    status,
)
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo

BITS_PER_BYTE = 10
# s of silence on the wire, after which a servo gives up a packet that has begun.
PACKET_GAP = 0.005
# Values of Status Return Level.
ANSWER_READS, ANSWER_ALL = 1, 2


@dataclass
class BusFaults:
    """What goes wrong on the wire.

    Attributes:
        latency: s, added to every answer.
        drop: Share of packets that vanish, in either direction.
        damage: Share of packets of which one byte is changed.
        missing: Servos that nobody hears and that hear nobody.
        dead: Nothing comes through at all.
    """

    latency: float = 0.0
    drop: float = 0.0
    damage: float = 0.0
    missing: frozenset[int] = frozenset()
    dead: bool = False


class Body(Protocol):
    """What hangs on the servos' outputs."""

    def advance(self, seconds: float) -> None:
        """Let time pass, and move them."""
        ...


class EmulatedBus:
    """Servos on one wire.

    Args:
        servos: Each with an id of its own.
        baud_rate: Bits/s on the wire.
        seed: Of the faults that are drawn.
        body: What moves those that hold no position; None: nothing does.

    Attributes:
        faults: What goes wrong; change it at any time.
        instructions: How many packets reached the servos.
    """

    def __init__(
        self,
        servos: Iterable[EmulatedServo],
        baud_rate: int = 1_000_000,
        seed: int = 0,
        body: Body | None = None,
    ) -> None:
        self.servos = {servo.number: servo for servo in servos}
        self.baud_rate = baud_rate
        self.faults = BusFaults()
        self.instructions = 0
        self._body = body
        self._decoder = Decoder()
        self._random = random.Random(seed)
        self._now: float | None = None
        self._free_at = 0.0
        self._heard_at = 0.0

    def wire_time(self, count: int) -> float:
        """s that so many bytes take."""
        return count * BITS_PER_BYTE / self.baud_rate

    def pass_time(self, now: float) -> None:
        """Let the servos move until `now` (s); earlier times change nothing."""
        if self._now is None:
            self._now = now
        elapsed = now - self._now
        if elapsed > 0.0:
            self._now = now
            for servo in self.servos.values():
                servo.advance(elapsed)
            if self._body is not None:
                self._body.advance(elapsed)

    def receive(
        self, data: bytes, now: float, baud_rate: int | None = None
    ) -> list[tuple[float, bytes]]:
        """Bytes come from the host.

        Args:
            now: s, when their first byte is sent.
            baud_rate: At which the host sends; another than the bus's is noise to the servos.

        Returns:
            What comes back, each with the time at which its last byte has arrived.
        """
        if now - self._heard_at > PACKET_GAP:
            self._decoder.clear()
        self._heard_at = now
        self._free_at = max(self._free_at, now) + self.wire_time(len(data))
        self.pass_time(now)
        if self.faults.dead or (baud_rate is not None and baud_rate != self.baud_rate):
            self._decoder.clear()
            return []
        data = self._through(data)
        answers = []
        for packet in self._decoder.feed(data):
            self.instructions += 1
            for answer in self._answer(packet, now):
                arrived = self._through(answer)
                # A packet that nobody hears has still taken its time.
                self._free_at += self.wire_time(len(answer))
                if arrived:
                    answers.append((self._free_at + self.faults.latency, arrived))
        return answers

    def _through(self, data: bytes) -> bytes:
        """The bytes that come out at the other end of the wire."""
        if self.faults.drop and self._random.random() < self.faults.drop:
            return b''
        if self.faults.damage and self._random.random() < self.faults.damage:
            place = self._random.randrange(len(data))
            changed = data[place] ^ (1 << self._random.randrange(8))
            return data[:place] + bytes([changed]) + data[place + 1 :]
        return data

    def _heard_by(self, now: float) -> dict[int, EmulatedServo]:
        return {
            number: servo
            for number, servo in self.servos.items()
            if number not in self.faults.missing and servo.answers(now)
        }

    def _answer(self, packet: Packet, now: float) -> list[bytes]:
        heard = self._heard_by(now)
        for servo in heard.values():
            servo.hear()
        if packet.instruction == Instruction.SYNC_READ:
            return self._sync_read(packet, heard)
        if packet.instruction == Instruction.SYNC_WRITE:
            self._sync_write(packet, heard)
            return []
        if packet.servo == BROADCAST:
            wanted = sorted(heard)
        else:
            wanted = [packet.servo] if packet.servo in heard else []
        answers = (self._perform(packet, heard[number], now) for number in wanted)
        return [answer for answer in answers if answer]

    def _perform(self, packet: Packet, servo: EmulatedServo, now: float) -> bytes:
        """One servo's answer; empty where it keeps silent."""
        parameters, broadcast = packet.parameters, packet.servo == BROADCAST
        level = servo.return_level
        if packet.instruction == Instruction.PING:
            number = servo.model.number.to_bytes(2, 'little')
            self._wait(servo)
            firmware = servo.value(table.FIRMWARE_VERSION)
            return status(servo.number, servo.alert, number + bytes([firmware]))
        if packet.instruction == Instruction.READ and not broadcast:
            if len(parameters) != 4:
                return self._told(servo, StatusError.DATA_LENGTH, level)
            error, data = servo.read(_word(parameters, 0), _word(parameters, 2))
            if level < ANSWER_READS:
                return b''
            self._wait(servo)
            return status(servo.number, error | servo.alert, data)
        if packet.instruction == Instruction.WRITE:
            if len(parameters) < 3:
                return self._told(servo, StatusError.DATA_LENGTH, level)
            error = servo.write(_word(parameters, 0), parameters[2:])
            return b'' if broadcast else self._told(servo, error, level)
        if packet.instruction == Instruction.REBOOT:
            answer = b'' if broadcast else self._told(servo, StatusError.NONE, level)
            servo.reboot(now)
            return answer
        return b'' if broadcast else self._told(servo, StatusError.INSTRUCTION, level)

    def _told(self, servo: EmulatedServo, error: int, level: int) -> bytes:
        """The answer to what is no read."""
        if level < ANSWER_ALL:
            return b''
        self._wait(servo)
        return status(servo.number, error | servo.alert)

    def _sync_read(self, packet: Packet, heard: dict[int, EmulatedServo]) -> list[bytes]:
        """One packet from each servo in turn; behind a missing one nobody answers.

        A servo waits for the packet of the one before it in the list.
        """
        if len(packet.parameters) < 5:
            return []
        address, size = _word(packet.parameters, 0), _word(packet.parameters, 2)
        answers = []
        for number in packet.parameters[4:]:
            servo = heard.get(number)
            if servo is None or servo.return_level < ANSWER_READS:
                break
            error, data = servo.read(address, size)
            self._wait(servo)
            answers.append(status(number, error | servo.alert, data))
        return answers

    def _sync_write(self, packet: Packet, heard: dict[int, EmulatedServo]) -> None:
        if len(packet.parameters) < 5:
            return
        address, size = _word(packet.parameters, 0), _word(packet.parameters, 2)
        rest = packet.parameters[4:]
        for start in range(0, len(rest) - size, size + 1):
            servo = heard.get(rest[start])
            if servo is not None:
                servo.write(address, rest[start + 1 : start + 1 + size])

    def _wait(self, servo: EmulatedServo) -> None:
        self._free_at += servo.return_delay


def _word(parameters: bytes, start: int) -> int:
    return int.from_bytes(parameters[start : start + 2], 'little')
