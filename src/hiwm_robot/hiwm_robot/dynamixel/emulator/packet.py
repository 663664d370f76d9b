# SPDX-License-Identifier: Apache-2.0
"""Protocol 2.0 as a servo speaks it: instructions in, status packets out.

    FF FF FD 00 | id | length (2) | instruction | parameters | CRC-16 (2)

The length counts what follows it. Inside, an `FD` is put after each `FF FF FD`, so that a header
never occurs in a packet. The CRC has the polynomial 0x8005 and starts at 0. Source: the e-manual,
Protocol 2.0. Written apart from the vendor's SDK, so that one checks the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

HEADER = b'\xff\xff\xfd\x00'
STUFFED = b'\xff\xff\xfd'
BROADCAST = 0xFE
LONGEST = 1024  # bytes of a packet; a length beyond it is noise


class Instruction(IntEnum):
    """What a packet asks for; STATUS is the answer."""

    PING = 0x01
    READ = 0x02
    WRITE = 0x03
    REBOOT = 0x08
    STATUS = 0x55
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class StatusError(IntEnum):
    """The error field of a status packet; ALERT is a bit of its own."""

    NONE = 0
    RESULT_FAIL = 1
    INSTRUCTION = 2
    CRC = 3
    DATA_RANGE = 4
    DATA_LENGTH = 5
    DATA_LIMIT = 6
    ACCESS = 7
    ALERT = 0x80


@dataclass(frozen=True)
class Packet:
    """One instruction: for whom, what, and its parameters without stuffing."""

    servo: int
    instruction: int
    parameters: bytes


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 8
        for _ in range(8):
            value = (value << 1) ^ (0x8005 if value & 0x8000 else 0)
        table.append(value & 0xFFFF)
    return tuple(table)


_TABLE = _crc_table()


def crc16(data: bytes) -> int:
    """The checksum over a whole packet but its last two bytes."""
    value = 0
    for byte in data:
        value = ((value << 8) & 0xFFFF) ^ _TABLE[(value >> 8) ^ byte]
    return value


def stuff(body: bytes) -> bytes:
    """Instruction and parameters, so that they contain no header."""
    return body.replace(STUFFED, STUFFED + b'\xfd')


def unstuff(body: bytes) -> bytes:
    """What `stuff` was given."""
    return body.replace(STUFFED + b'\xfd', STUFFED)


def encode(servo: int, instruction: int, payload: bytes) -> bytes:
    """A whole packet; of a status, the payload begins with the error field."""
    body = stuff(bytes([instruction]) + payload)
    head = HEADER + bytes([servo]) + (len(body) + 2).to_bytes(2, 'little') + body
    return head + crc16(head).to_bytes(2, 'little')


def status(servo: int, error: int, parameters: bytes = b'') -> bytes:
    """A status packet."""
    return encode(servo, Instruction.STATUS, bytes([error]) + parameters)


class Decoder:
    """Finds packets in a stream of bytes; noise and packets with a wrong checksum are passed over.

    Attributes:
        damaged: How many packets had a wrong checksum.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.damaged = 0

    def feed(self, data: bytes) -> list[Packet]:
        """Take bytes in; returns the packets that are complete now."""
        self._buffer += data
        found = []
        while (packet := self._next()) is not None:
            found.append(packet)
        return found

    def clear(self) -> None:
        """Forget a packet that has begun."""
        self._buffer.clear()

    def _next(self) -> Packet | None:
        buffer = self._buffer
        while True:
            start = buffer.find(HEADER)
            if start < 0:
                del buffer[: max(0, len(buffer) - len(HEADER) + 1)]
                return None
            del buffer[:start]
            if len(buffer) < 7:
                return None
            length = int.from_bytes(buffer[5:7], 'little')
            if not 3 <= length <= LONGEST:
                del buffer[:1]
                continue
            if len(buffer) < 7 + length:
                return None
            whole = bytes(buffer[: 7 + length])
            if crc16(whole[:-2]) != int.from_bytes(whole[-2:], 'little'):
                self.damaged += 1
                del buffer[:1]
                continue
            del buffer[: 7 + length]
            body = unstuff(whole[7:-2])
            return Packet(whole[4], body[0], body[1:])
