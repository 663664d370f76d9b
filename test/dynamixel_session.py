# SPDX-License-Identifier: Apache-2.0
"""A whole session on the physical arm's rig: every node, emulated servos, a simulated table.

What the servos got is asked of the servos themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import json
from pathlib import Path
import subprocess
from typing import Any

from hiwm_core import contract
from test.driven_session import DrivenSession
from test.dynamixel_rig import emulator
from test.probe import Probe
from test.process import Process


class Servos:
    """An emulated bus in a process of its own, spoken to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, line: str) -> str:
        """One command's answer, which has to be no error."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f'{line}\n')
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert not answer.startswith('error'), answer
        return answer

    def ask(self, line: str) -> dict[str, dict[str, Any]]:
        """What is told of each servo, by its id."""
        told: dict[str, dict[str, Any]] = json.loads(self.tell(line))
        return told

    def torque(self) -> set[str]:
        """Ids of those that have torque."""
        return {number for number, servo in self.ask('state').items() if servo['torque']}


class DynamixelSession(DrivenSession):
    """See the module's text.

    Args:
        process: The launch.
        probe: Hears everything.
        servos: What is at the other end of the port.
    """

    def __init__(self, process: Process, probe: Probe, servos: Servos) -> None:
        super().__init__(process, probe)
        self.servos = servos

    def arm_status(self) -> dict[str, str]:
        """The newest status of the arm; empty before the first."""
        for array in reversed(self.probe.messages[contract.DIAGNOSTICS.name]):
            for status in array.status:
                if status.name.endswith(': arm'):
                    return {'message': status.message, **{v.key: v.value for v in status.values}}
        return {}


@contextmanager
def dynamixel_session(
    probe: Probe, arm: Path, folder: Path, arguments: Sequence[str] = ()
) -> Iterator[DynamixelSession]:
    """A session that is launched, for the length of a block.

    Args:
        probe: Hears everything.
        arm: The arm's file.
        folder: For port, log and record; gets a file `log`.
        arguments: Of the launch file, beside those for the emulated rig.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = folder / 'port'
    launch = [
        *('ros2', 'launch', 'hiwm_bringup', 'robot_session.launch.py', 'rig:=dynamixel'),
        *(f'arm:={arm}', f'arm_port:={port}', 'camera:=sim', 'headless:=true'),
        f'record_dir:={folder}',
        *arguments,
    ]
    for messages in probe.messages.values():
        messages.clear()
    with emulator(arm, port) as servos, Process(launch, folder / 'log') as process:
        yield DynamixelSession(process, probe, Servos(servos))
