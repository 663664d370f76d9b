# SPDX-License-Identifier: Apache-2.0
"""A terminal as a keyboard: keys one by one, without echo, and put back as it was afterwards."""

from __future__ import annotations

import atexit
import os
import re
import select
import sys
import termios
from types import TracebackType
from typing import Any

from hiwm_core.error import ConfigurationError

# What terminals send for keys that are no character; xterm's control sequences.
NAMED = {
    '\x1b': 'escape',
    '\x7f': 'backspace',
    '\x08': 'backspace',
    '\r': 'enter',
    '\n': 'enter',
    ' ': 'space',
    '\x1b[I': 'focus in',
    '\x1b[O': 'focus out',
}
TOKEN = re.compile(r'\x1b\[[0-9;]*[A-Za-z~]|\x1bO.|[\s\S]')
REPORT_FOCUS, REPORT_NO_FOCUS = '\x1b[?1004h', '\x1b[?1004l'
CLEAR_LINE = '\r\x1b[K'
LONGEST_READ = 1024
USUAL_COLUMNS = 80  # of a terminal that does not know its size


def keys_of(text: str) -> list[str]:
    """The keys that a piece of a terminal's input stands for: names, or lower-case characters.

    Sequences that are not known are left out.
    """
    keys = []
    for token in TOKEN.findall(text):
        if token in NAMED:
            keys.append(NAMED[token])
        elif len(token) == 1 and token.isprintable():
            keys.append(token.lower())
    return keys


class Terminal:
    """The terminal on standard input and output, while it is entered.

    It reports when it loses the focus, where it can. Suspending (Ctrl-Z) is switched off; Ctrl-C
    interrupts as ever.

    Raises:
        ConfigurationError: Standard input or output is not a terminal.
    """

    def __init__(self) -> None:
        self._in, self._out = sys.stdin.fileno(), sys.stdout.fileno()
        for fd, name in ((self._in, 'input'), (self._out, 'output')):
            if not os.isatty(fd):
                raise ConfigurationError(
                    f'standard {name} is not a terminal, so there are no keys to read; '
                    'start this in a terminal of its own and not from a launch file'
                )
        self._saved: list[Any] | None = None

    def __enter__(self) -> Terminal:
        self._saved = termios.tcgetattr(self._in)
        changed = termios.tcgetattr(self._in)
        changed[3] &= ~(termios.ECHO | termios.ICANON)
        changed[6][termios.VMIN] = 1
        changed[6][termios.VTIME] = 0
        changed[6][termios.VSUSP] = b'\x00'
        atexit.register(self.restore)
        termios.tcsetattr(self._in, termios.TCSAFLUSH, changed)
        self._write(REPORT_FOCUS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.restore()

    def restore(self) -> None:
        """Put everything back as it was; again does nothing."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        atexit.unregister(self.restore)
        try:
            self._write(f'{REPORT_NO_FOCUS}{CLEAR_LINE}')
            termios.tcsetattr(self._in, termios.TCSAFLUSH, saved)
        except (OSError, termios.error):
            # The terminal itself is gone, and with it what was to be restored.
            return

    def read(self, timeout: float) -> list[str] | None:
        """The keys of the next `timeout` s, as soon as there are any; None: it was closed."""
        try:
            ready, _, _ = select.select([self._in], [], [], timeout)
            if not ready:
                return []
            data = os.read(self._in, LONGEST_READ)
        except (OSError, ValueError):
            return None
        return keys_of(data.decode(errors='replace')) if data else None

    def show(self, line: str) -> None:
        """Show a line in place of the one that was shown last."""
        columns = os.get_terminal_size(self._out).columns or USUAL_COLUMNS
        self._write(f'{CLEAR_LINE}{line[: columns - 1]}')

    def say(self, text: str) -> None:
        """Write text above the line that is shown."""
        self._write(f'{CLEAR_LINE}{text}\n')

    def _write(self, text: str) -> None:
        os.write(self._out, text.encode())
