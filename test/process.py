# SPDX-License-Identifier: Apache-2.0
"""Processes of the product, started as a person starts them, and stopped with nothing left."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import time
from types import TracebackType


class Process:
    """A command in a process group of its own, its output in a file.

    Args:
        command: The command and its arguments.
        log: Where its output goes.
    """

    def __init__(self, command: list[str], log: Path) -> None:
        self.command = command
        self.log = log

    def __enter__(self) -> Process:
        with self.log.open('wb') as output:
            self.child = subprocess.Popen(
                self.command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.child.poll() is None:
            self.interrupt()
        self.kill_rest()

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors='replace')

    def interrupt(self, patience: float = 30.0) -> int:
        """SIGINT, as by Ctrl-C, and its exit code."""
        os.killpg(self.child.pid, signal.SIGINT)
        return self.wait(patience)

    def wait(self, patience: float = 60.0) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.child.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f'{" ".join(self.command)} did not end; it printed:\n{self.text[-4000:]}'
            ) from None

    def running(self) -> dict[int, list[str]]:
        """The processes of its session that run, and their commands, by process id."""
        found = {}
        for entry in Path('/proc').iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / 'stat').read_text().rsplit(')', 1)[1].split()
                if int(fields[3]) == self.child.pid and fields[0] != 'Z':
                    command = (entry / 'cmdline').read_bytes().decode().split('\0')
                    found[int(entry.name)] = command
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    def nodes(self) -> dict[str, int]:
        """The process ids of the nodes of its session, by the names of their executables."""
        found = {}
        for number, command in self.running().items():
            if '--ros-args' in command:
                paths = command[: command.index('--ros-args')]
                found[Path(paths[1 if len(paths) > 1 else 0]).name] = number
        return found

    def left_behind(self) -> list[str]:
        """Processes of its session that still run."""
        return [f'{number} {" ".join(command)}' for number, command in self.running().items()]

    def kill_rest(self) -> None:
        """Whatever it left behind."""
        for number in self.running():
            try:
                os.kill(number, signal.SIGKILL)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 5.0
        while self.left_behind() and time.monotonic() < deadline:
            time.sleep(0.05)
