# SPDX-License-Identifier: Apache-2.0
"""The emulated bus as a port of the vendor's SDK in the same process, with time that is made up.

A test passes hours in seconds and still runs the SDK's own protocol code against the bytes of the
wire. Waiting for an answer moves the time on; so does `sleep`.
"""

from __future__ import annotations

from collections import deque

from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel.emulator.bus import EmulatedBus
from hiwm_robot.dynamixel.port import ANSWER_MARGIN, PortLostError

# s that a host needs to see bytes and go on.
HOST_DELAY = 1e-4


class VirtualPort:
    """A port with the names that the SDK's packet handler uses.

    Args:
        bus: The servos.

    Attributes:
        now: s, the made-up time.
        unplugged: True: the port has vanished.
    """

    def __init__(self, bus: EmulatedBus) -> None:
        self.bus = bus
        self.now = 0.0
        self.unplugged = False
        self.is_open = False
        self.is_using = False
        self.port_name = 'virtual'
        self.packet_timeout = 0.0
        self._asked_at = 0.0
        self._answers: deque[tuple[float, bytes]] = deque()
        self._arrived = bytearray()

    def clock(self) -> float:
        """s, the made-up time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += max(0.0, seconds)
        self.bus.pass_time(self.now)

    def rest(self, seconds: float) -> None:
        """See `ServoPort`."""
        self.sleep(seconds)

    # -- as the SDK calls them -------------------------------------------------------------------

    def openPort(self) -> bool:  # noqa: N802
        """See `ServoPort`. Raises ConfigurationError while it is unplugged."""
        if self.unplugged:
            raise ConfigurationError('there is no port virtual; plug it in')
        self.is_open = True
        self._arrived.clear()
        self._answers.clear()
        return True

    def closePort(self) -> None:  # noqa: N802
        """See `ServoPort`."""
        self.is_open = False

    def clearPort(self) -> None:  # noqa: N802
        """See `ServoPort`."""
        self._check()
        self._collect()
        self._arrived.clear()

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        """See `ServoPort`."""
        self._check()
        self._answers.extend(self.bus.receive(bytes(packet), self.now))
        self.sleep(HOST_DELAY)
        return len(packet)

    def readPort(self, length: int) -> bytes:  # noqa: N802
        """See `ServoPort`."""
        self._check()
        self._collect()
        if not self._arrived:
            overdue = self._asked_at + self.packet_timeout / 1e3
            next_at = self._answers[0][0] if self._answers else overdue
            self.sleep(min(next_at, overdue) - self.now + HOST_DELAY)
            self._collect()
        data = bytes(self._arrived[:length])
        del self._arrived[:length]
        return data

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
        """See `ServoPort`."""
        self.setPacketTimeoutMillis((self.bus.wire_time(packet_length) + ANSWER_MARGIN) * 1e3)

    def setPacketTimeoutMillis(self, msec: float) -> None:  # noqa: N802
        """See `ServoPort`."""
        self._asked_at = self.now
        self.packet_timeout = msec

    def isPacketTimeout(self) -> bool:  # noqa: N802
        """See `ServoPort`."""
        return (self.now - self._asked_at) * 1e3 > self.packet_timeout

    def getBaudRate(self) -> int:  # noqa: N802
        """See `ServoPort`."""
        return self.bus.baud_rate

    def _collect(self) -> None:
        while self._answers and self._answers[0][0] <= self.now:
            self._arrived += self._answers.popleft()[1]

    def _check(self) -> None:
        # One that was closed is as good as gone, as with a real one.
        if self.unplugged or not self.is_open:
            raise PortLostError('the port virtual has vanished; plug it in again')
