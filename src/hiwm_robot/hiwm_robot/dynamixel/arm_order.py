# SPDX-License-Identifier: Apache-2.0
"""What an arm's node tells the process of its control loop, and what it is answered, as bytes.

Each order and each answer is one message on a pair of sockets that keeps messages whole and in
their order. An end of the pair that is gone says that its process is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
import socket
import struct

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ErrorCode

FloatArray = NDArray[np.float64]

LARGEST = 4096  # bytes of a message
_ORDER = struct.Struct('<BId')  # kind, number, s (steady) when it was given
_ANSWER = struct.Struct('<IB')  # number of the order, error code (0: done); a sentence follows


class OrderKind(IntEnum):
    """What is asked; those from ENABLE on are answered."""

    COMMAND = 1  # values follow, float64
    HOLD = 2
    STOP = 3  # the reason follows, UTF-8
    RESET_STOP = 4
    ENABLE = 5
    DISABLE = 6
    RECOVER = 7
    END = 8


@dataclass(frozen=True)
class Order:
    """One order.

    Attributes:
        number: Counts up from 1; 0 stands for the start itself.
        stamp: s, steady, when it was given.
        body: What follows, by kind.
    """

    kind: OrderKind
    number: int
    stamp: float
    body: bytes = b''

    def pack(self) -> bytes:
        """The message."""
        return _ORDER.pack(self.kind, self.number, self.stamp) + self.body

    @classmethod
    def unpack(cls, data: bytes) -> Order:
        """The order of a message."""
        kind, number, stamp = _ORDER.unpack_from(data)
        return cls(OrderKind(kind), number, stamp, data[_ORDER.size :])

    @property
    def values(self) -> FloatArray:
        """Of a COMMAND, (A,)."""
        return np.frombuffer(self.body, np.float64)

    @property
    def text(self) -> str:
        """Of a STOP."""
        return self.body.decode()


@dataclass(frozen=True)
class Answer:
    """What became of an order.

    Attributes:
        number: The order's.
        code: NONE: it is done.
        text: Why it is not; of the start, how it runs.
    """

    number: int
    code: ErrorCode
    text: str = ''

    def pack(self) -> bytes:
        """The message."""
        body = self.text.encode()[: LARGEST - _ANSWER.size]
        return _ANSWER.pack(self.number, self.code) + body

    @classmethod
    def unpack(cls, data: bytes) -> Answer:
        """The answer of a message."""
        number, code = _ANSWER.unpack_from(data)
        return cls(number, ErrorCode(code), data[_ANSWER.size :].decode(errors='ignore'))


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
