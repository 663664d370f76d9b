# SPDX-License-Identifier: Apache-2.0
"""A process that the launch owns: its output by lines, its signals, its end.

A child leads a process group of its own, so that a Ctrl-C in the terminal reaches it once, from
the launch, and so that what it started itself can be ended with it. Should the launch be killed,
the kernel sends the child SIGINT (Linux).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
import contextlib
import ctypes
import os
import pty
import signal
import sys

PR_SET_PDEATHSIG = 1
READ_SIZE = 65536
#: More than a pipe holds; a descendant that goes on writing is not waited for.
READS_AT_END = 16


class OutputStream:
    """The reading end of a child's stdout or stderr, which calls back with each whole line."""

    def __init__(self, on_line: Callable[[str], None], *, emulate_tty: bool) -> None:
        self._on_line = on_line
        self._rest = b''
        self._reader, self.writer = pty.openpty() if emulate_tty else os.pipe()
        os.set_blocking(self._reader, False)
        self._loop = asyncio.get_running_loop()
        self._open = True

    def begin(self) -> None:
        """Begin to deliver lines."""
        self._loop.add_reader(self._reader, self._read)

    def _read(self) -> bool:
        """Read what is there; returns False at the end or when nothing is there."""
        try:
            data = os.read(self._reader, READ_SIZE)
        except BlockingIOError:
            return False
        except OSError:  # a terminal whose last writer is gone answers EIO instead of an end
            data = b''
        if not data:
            self._loop.remove_reader(self._reader)
            return False
        *lines, self._rest = (self._rest + data).split(b'\n')
        for line in lines:
            self._on_line(line.rstrip(b'\r').decode(errors='replace'))
        return True

    def close_writer(self) -> None:
        """Close this process's copy of the writing end, once the child has its own."""
        os.close(self.writer)

    def close(self) -> None:
        """Deliver what is left and close."""
        if not self._open:
            return
        self._open = False
        for _ in range(READS_AT_END):
            if not self._read():
                break
        if self._rest:
            self._on_line(self._rest.decode(errors='replace'))
        self._loop.remove_reader(self._reader)
        os.close(self._reader)


class ChildProcess:
    """One run of a command."""

    def __init__(self, process: asyncio.subprocess.Process, streams: list[OutputStream]) -> None:
        self._process = process
        self._streams = streams
        self.pid = process.pid

    @classmethod
    async def start(
        cls,
        cmd: list[str],
        *,
        cwd: str | None,
        env: dict[str, str],
        shell: bool,
        emulate_tty: bool,
        on_stdout: Callable[[str], None],
        on_stderr: Callable[[str], None],
    ) -> ChildProcess:
        """Start the command.

        Raises:
            OSError: it cannot be started.
        """
        streams = [OutputStream(line, emulate_tty=emulate_tty) for line in (on_stdout, on_stderr)]
        command = ['/bin/sh', '-c', ' '.join(cmd)] if shell else cmd
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=streams[0].writer,
                stderr=streams[1].writer,
                cwd=cwd,
                env=env,
                process_group=0,
                preexec_fn=_end_with_parent(os.getpid()),
            )
        except BaseException:
            for stream in streams:
                stream.close_writer()
                stream.close()
            raise
        for stream in streams:
            stream.close_writer()
        return cls(process, streams)

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, or None while it runs."""
        return self._process.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the whole group: a prefix command or a shell may stand before the program."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    async def wait(self) -> int:
        """Deliver the output until the exit, and end what is left of the group then."""
        for stream in self._streams:
            stream.begin()
        returncode = await self._process.wait()
        self.send_signal(signal.SIGTERM)
        for stream in self._streams:
            stream.close()
        return returncode


def _end_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what the child runs before the command, so that it does not outlive its parent."""
    if not sys.platform.startswith('linux'):
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec little is safe

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)

    return arrange
