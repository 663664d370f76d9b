# SPDX-License-Identifier: Apache-2.0
"""The emulated bus behind a pseudo terminal, in real time: a serial port for any program.

The port that is printed is a link, as those in /dev/serial/by-id are: it points nowhere while the
adapter is unplugged, and to a new device when it is plugged in again.
"""

from __future__ import annotations

from collections import deque
import os
from pathlib import Path
import select
import termios
import time
import tty

from hiwm_robot.dynamixel.emulator.bus import EmulatedBus

IDLE = 0.02  # s between looks at the clock while nothing comes
BAUD_RATES = {
    getattr(termios, f'B{rate}'): rate
    for rate in (9600, 57600, 115200, 1_000_000, 2_000_000, 3_000_000, 4_000_000)
}


class SerialDevice:
    """A pseudo terminal with servos at its other end.

    Args:
        bus: The servos.
        link: Where the port is to appear.
    """

    def __init__(self, bus: EmulatedBus, link: Path) -> None:
        self.bus = bus
        self.link = link
        self._host: int | None = None
        self._device: int | None = None
        self._answers: deque[tuple[float, bytes]] = deque()
        self.plug_in()

    def plug_in(self) -> None:
        """The port appears."""
        if self._host is not None:
            return
        self._host, self._device = os.openpty()
        tty.setraw(self._device)
        # Until a program sets a rate of its own, it is none of the bus's.
        passing = self.link.with_name(f'{self.link.name}.new')
        passing.unlink(missing_ok=True)
        passing.symlink_to(os.ttyname(self._device))
        passing.replace(self.link)
        os.set_blocking(self._host, False)

    def unplug(self) -> None:
        """The port vanishes, for whoever has it open too."""
        self.link.unlink(missing_ok=True)
        for descriptor in (self._host, self._device):
            if descriptor is not None:
                os.close(descriptor)
        self._host = self._device = None
        self._answers.clear()

    def close(self) -> None:
        """Take it away."""
        self.unplug()

    def turn(self, extra: int | None = None) -> bool:
        """Wait for what comes next and handle it.

        Args:
            extra: Another descriptor to wake up for.

        Returns:
            Whether `extra` has something to read.
        """
        wait = IDLE
        if self._answers:
            # As a USB adapter does, what comes close together is handed over together.
            wait = min(wait, max(0.0, self._answers[-1][0] - time.monotonic()))
        watched = [each for each in (self._host, extra) if each is not None]
        ready, _, _ = select.select(watched, [], [], wait)
        if self._host in ready:
            self._take()
        now = time.monotonic()
        self.bus.pass_time(now)
        arrived = []
        while self._answers and self._answers[0][0] <= now:
            arrived.append(self._answers.popleft()[1])
        if arrived:
            self._send(b''.join(arrived))
        return extra in ready

    def _take(self) -> None:
        assert self._host is not None
        try:
            data = os.read(self._host, 4096)
        except BlockingIOError:
            return
        if data:
            now = time.monotonic()
            self._answers.extend(self.bus.receive(data, now, self._baud_rate()))

    def _send(self, data: bytes) -> None:
        if self._host is not None:
            try:
                os.write(self._host, data)
            except BlockingIOError:
                # Nobody reads, as with a real adapter: what does not fit is lost.
                return

    def _baud_rate(self) -> int:
        """What the program at the other end has set."""
        assert self._host is not None
        return BAUD_RATES.get(termios.tcgetattr(self._host)[5], 0)
