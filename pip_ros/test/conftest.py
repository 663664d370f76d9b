# SPDX-License-Identifier: Apache-2.0
"""A throw-away ROS package, and the `ros2` command run on it as a user runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import queue
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time

import pytest

# Under nohup the hang-up is inherited as ignored, and launch would respect that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

PACKAGE = 'launch_test_package'
PATIENCE = 30.0


class Command:
    """A running `ros2` command in a session of its own, and the lines it has printed."""

    def __init__(self, arguments: list[str], env: dict[str, str], **options: object) -> None:
        self.process = subprocess.Popen(
            arguments,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip('\n'))
        self._queue.put(None)

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return '\n'.join(self.lines)

    def wait_for(self, text: str) -> str:
        """Return the next line that has `text` in it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f'no line has {text!r}:\n{self.output}')
            if line is None:
                pytest.fail(f'the command ended before {text!r}:\n{self.output}')
            self.lines.append(line)
            if text in line:
                return line

    def end(self, number: signal.Signals | None = None) -> int:
        """Send a signal, if one is given, and wait for the end; returns the exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(PATIENCE)
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return code


class Package:
    """An installed package in a folder, with launch files and executables written by a test."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.share = root / 'share' / PACKAGE
        self.lib = root / 'lib' / PACKAGE
        index = root / 'share' / 'ament_index' / 'resource_index' / 'packages'
        for folder in (self.share / 'launch', self.lib, index):
            folder.mkdir(parents=True)
        (index / PACKAGE).touch()
        self.log = root / 'log'
        self.env = {
            **os.environ,
            'AMENT_PREFIX_PATH': f'{root}:{os.environ.get("AMENT_PREFIX_PATH", "")}',
            'ROS_LOG_DIR': str(self.log),
            'PYTHONUNBUFFERED': '1',
        }
        self._commands: list[Command] = []

    def launch_file(self, body: str, name: str = 'test.launch.py') -> Path:
        """Write a launch file whose entities are `body`, with everything imported."""
        path = self.share / 'launch' / name
        path.write_text(
            'import sys\n'
            'from launch import *\n'
            'from launch.actions import *\n'
            'from launch.conditions import *\n'
            'from launch.event_handlers import *\n'
            'from launch.events import matches_action\n'
            'from launch.launch_description_sources import *\n'
            'from launch.substitutions import *\n'
            'from launch_ros.actions import *\n'
            'from launch_ros.substitutions import *\n'
            'from launch_ros.parameter_descriptions import ParameterFile, ParameterValue\n\n\n'
            'def generate_launch_description():\n' + textwrap.indent(textwrap.dedent(body), '    ')
        )
        return path

    def executable(self, name: str, body: str) -> Path:
        """Write an executable Python script of the package."""
        path = self.lib / name
        path.write_text(f'#!{sys.executable}\n' + textwrap.dedent(body))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def start(self, *arguments: str | Path, **options: object) -> Command:
        """Start `ros2 ARGUMENTS`."""
        command = Command(['ros2', *map(str, arguments)], self.env, **options)
        self._commands.append(command)
        return command

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Run `ros2 ARGUMENTS` to its end; returns exit code and output."""
        command = self.start(*arguments)
        code = command.end()
        return code, command.output

    def launch(self, body: str, *arguments: str) -> tuple[int, str]:
        """Launch a file that consists of `body`; returns exit code and output."""
        return self.run('launch', self.launch_file(body), *arguments)

    def start_launch(self, body: str, *arguments: str, **options: object) -> Command:
        """Start launching a file that consists of `body`."""
        return self.start('launch', self.launch_file(body), *arguments, **options)

    def launch_log(self) -> str:
        """Return what the launches have logged."""
        return ''.join(path.read_text() for path in self.log.glob('*/launch.log'))

    def kill_all(self) -> None:
        """End what a failed test left running."""
        for command in self._commands:
            if command.process.poll() is None:
                command.process.kill()


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Package]:
    """A package in the test's own folder."""
    made = Package(tmp_path / 'install')
    yield made
    made.kill_all()


def alive(pid: int) -> bool:
    """Say whether a process runs (and is no zombie)."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """A function that waits for a condition to become true."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail('the condition did not become true')
            time.sleep(0.02)

    return wait


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """A function that says whether a process id belongs to a running process."""
    return alive
