# SPDX-License-Identifier: Apache-2.0
"""The serial port under the vendor's SDK: it waits for bytes instead of asking for them in a loop,
belongs to one process, and gives up on an answer soon enough for a control loop.
"""

from __future__ import annotations

from contextlib import suppress
import errno
import os
from pathlib import Path
import select
import termios
import time

from dynamixel_sdk import PortHandler
import serial

from hiwm_core.error import ConfigurationError, HiwmError

# s beyond the wire time that an answer may take: the servo's own delay, a USB adapter that collects
# bytes for 1 ms, and a host that is busy. The SDK's own value is 34 ms, three turns of the loop.
ANSWER_MARGIN = 0.015
# s; on a busy host a thread may wait long for its turn between writing and looking at the clock.
WRITE_TIMEOUT = 0.5
REOPEN_PERIOD = 1.0  # s between attempts to open a port that has vanished
# What pyserial and the system raise for a device that has vanished under an open port.
GONE = (OSError, termios.error, ValueError, TypeError)
NOTHING_TO_DO = 'plug it in, or name another in the arm file or by the parameter `port`'


class PortLostError(HiwmError):
    """The port vanished while it was open."""


class ServoPort(PortHandler):
    """A serial port, as the SDK's packet handler uses it.

    Args:
        path: Device file; a link such as those in /dev/serial/by-id is followed when it is opened.
        baud_rate: Bits/s.
    """

    def __init__(self, path: str, baud_rate: int) -> None:
        super().__init__(path)
        self.baudrate = baud_rate

    def openPort(self) -> bool:  # noqa: N802
        """Open it. Raises ConfigurationError with a sentence that says what to do."""
        path = Path(self.port_name)
        try:
            if self.getCFlagBaud(self.baudrate) < 0:
                raise ConfigurationError(
                    f'the port {path} cannot be set to {self.baudrate} baud; '
                    'use one of 57600, 115200, 1000000, 2000000, 3000000, 4000000'
                )
            return bool(super().openPort())
        except GONE as error:
            self.is_open = False
            raise ConfigurationError(self._refusal(path, error)) from error

    def _refusal(self, path: Path, error: Exception) -> str:
        """What a person is told; pyserial hides the system's error number in its own text."""
        if not path.exists():
            return f'there is no port {path}; {NOTHING_TO_DO}'
        if not os.access(path, os.R_OK | os.W_OK):
            return (
                f'the port {path} may not be opened by this user; run: '
                f'sudo usermod -a -G {path.group()} $USER, and log in again'
            )
        number = getattr(error, 'errno', None)
        if number in {errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK}:
            return f'the port {path} is in use by another program; end that one first'
        if not path.is_char_device():
            return f'{path} is not a serial port; {NOTHING_TO_DO}'
        return f'the port {path} cannot be opened ({error}); {NOTHING_TO_DO}'

    def setupPort(self, cflag_baud: int) -> bool:  # noqa: N802
        """Open the device for this process alone, at the lowest latency that its driver has."""
        if self.is_open:
            self.closePort()
        self.ser = serial.Serial(
            port=self.port_name,
            baudrate=cflag_baud,
            timeout=0,
            write_timeout=WRITE_TIMEOUT,
            exclusive=True,
        )
        self.is_open = True
        self.tx_time_per_byte = 10_000.0 / self.baudrate
        # An FTDI adapter collects bytes for 16 ms otherwise; other drivers do not know the mode.
        with suppress(OSError, ValueError, NotImplementedError, AttributeError):
            self.ser.set_low_latency_mode(True)
        self.ser.reset_input_buffer()
        return True

    def closePort(self) -> None:  # noqa: N802
        """Close it; nothing happens if it is closed already, or gone."""
        self.is_open = False
        if self.ser is not None:
            with suppress(*GONE):
                self.ser.close()

    def clearPort(self) -> None:  # noqa: N802
        """Forget what has come in. Raises PortLostError."""
        try:
            self.ser.reset_input_buffer()
        except GONE as error:
            raise self._lost(error) from error

    def writePort(self, packet: list[int]) -> int:  # noqa: N802
        """Send bytes; returns how many. Raises PortLostError."""
        try:
            return int(self.ser.write(bytes(packet)))
        except serial.SerialTimeoutException:
            return 0
        except GONE as error:
            raise self._lost(error) from error

    def readPort(self, length: int) -> bytes:  # noqa: N802
        """Up to `length` bytes, once one is there or none is to come. Raises PortLostError."""
        left = (self.packet_timeout - self.getTimeSinceStart()) / 1e3
        try:
            ready, _, _ = select.select([self.ser.fileno()], [], [], max(0.0, left))
            if not ready:
                return b''
            data = os.read(self.ser.fileno(), length)
        except GONE as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(None)
        return data

    def setPacketTimeout(self, packet_length: int) -> None:  # noqa: N802
        """An answer of so many bytes is expected now."""
        self.setPacketTimeoutMillis(self.tx_time_per_byte * packet_length + ANSWER_MARGIN * 1e3)

    def rest(self, seconds: float) -> None:
        """Let the line fall silent."""
        time.sleep(seconds)

    def getCurrentTime(self) -> float:  # noqa: N802
        """ms on a steady clock; the SDK's own looks at the time of day, which may be set."""
        return time.monotonic() * 1e3

    def _lost(self, error: Exception | None) -> PortLostError:
        why = f' ({error})' if error else ''
        return PortLostError(
            f'the port {self.port_name} has vanished{why}; plug it in again, then reset the arm'
        )
