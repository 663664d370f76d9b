# SPDX-License-Identifier: Apache-2.0
"""The arm's and the leader's programs, started as a person starts them, and refused or killed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import time
from typing import Any

from emulated_arm import CONFIG, READY, reference, write_arm
import pytest
import yaml

from hiwm_robot.dynamixel import control_table as table

PATIENCE = 90.0
PROGRAMS = 'from hiwm_robot.programs import {0}; {0}()'


class Servos:
    """An emulated bus in a process of its own."""

    def __init__(self, folder: Path, arm: Path, *options: str) -> None:
        self.port = folder / 'port'
        self.process = subprocess.Popen(
            [
                sys.executable,
                '-c',
                PROGRAMS.format('bus_emulator'),
                *('--config', str(arm), '--link', str(self.port)),
                *('--angles', *map(str, READY)),
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == str(self.port)

    def tell(self, line: str) -> str:
        """One command's answer."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f'{line}\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def state(self) -> dict[str, Any]:
        """Of every servo."""
        state: dict[str, Any] = json.loads(self.tell('state'))
        return state

    def until(self, holds: Any, what: str) -> None:
        """Wait until `holds(state)`."""
        deadline = time.monotonic() + PATIENCE
        while not holds(self.state()):
            assert time.monotonic() < deadline, f'waited in vain until {what}'
            time.sleep(0.1)

    def has_torque(self, on: bool) -> bool:
        """Whether all servos have, or all have none."""
        return all(servo['torque'] is on for servo in self.state().values())


@pytest.fixture
def arm_file(tmp_path: Path) -> Path:
    """The reference arm with patience for a busy machine."""
    data = reference()
    data['rate'] = 25
    data['port'] = str(tmp_path / 'port')
    data['safety'] |= {'watchdog': 5.0, 'bus_watchdog': 2.5}
    return write_arm(tmp_path, data)


@pytest.fixture
def servos(tmp_path: Path, arm_file: Path) -> Iterator[Servos]:
    """The servos of `arm_file`."""
    servos = Servos(tmp_path, arm_file)
    yield servos
    servos.process.terminate()
    servos.process.communicate(timeout=PATIENCE)


@contextmanager
def program(name: str, *parameters: str) -> Iterator[subprocess.Popen[str]]:
    """A node; killed at the end if it still runs."""
    arguments = [word for parameter in parameters for word in ('-p', parameter)]
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAMS.format(name), '--ros-args', *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize('how', [signal.SIGINT, signal.SIGTERM])
def test_every_end_takes_the_torque_off(
    servos: Servos, arm_file: Path, how: signal.Signals
) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        arm.send_signal(how)
        _, errors = arm.communicate(timeout=PATIENCE)
        assert arm.returncode == 0, errors
    assert servos.has_torque(False)


def loop_of(node: subprocess.Popen[str]) -> int:
    """The process id of a node's control loop."""
    children = Path(f'/proc/{node.pid}/task/{node.pid}/children').read_text().split()
    (loop,) = [
        int(each)
        for each in children
        if 'control_loop_program' in Path(f'/proc/{each}/cmdline').read_text()
    ]
    return loop


def wait_for_end(process: int) -> None:
    """Until a process that is no child of this one has ended."""
    deadline = time.monotonic() + PATIENCE
    while Path(f'/proc/{process}/cmdline').exists():
        assert time.monotonic() < deadline, f'process {process} still runs'
        time.sleep(0.1)


def have_tripped(state: dict[str, Any]) -> bool:
    return all(servo['bus_watchdog'] == table.WATCHDOG_TRIPPED for servo in state.values())


def test_the_node_killed_the_loop_takes_the_torque_off(servos: Servos, arm_file: Path) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        loop = loop_of(arm)
        arm.kill()
        arm.wait(PATIENCE)
        wait_for_end(loop)
        assert servos.has_torque(False)
        assert not have_tripped(servos.state()), 'the loop was there to the end'


def test_the_loop_killed_the_servos_stop_by_themselves_and_the_node_says_so(
    servos: Servos, arm_file: Path
) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        os.kill(loop_of(arm), signal.SIGKILL)
        _, errors = arm.communicate(timeout=PATIENCE)
        assert arm.returncode == 1
        assert 'has ended by SIGKILL; without it each servo has stopped by itself' in errors
    servos.until(have_tripped, 'every bus watchdog has tripped')
    stopped = servos.state()
    time.sleep(0.3)
    assert all(
        abs(servo['position'] - stopped[number]['position']) < 2e-3
        for number, servo in servos.state().items()
    )
    # And the next start takes up an arm whose watchdogs have tripped.
    with program('dynamixel_arm', f'arm:={arm_file}'):
        servos.until(
            lambda state: all(servo['bus_watchdog'] > 0 for servo in state.values()),
            'the arm is set up again',
        )
        assert servos.has_torque(True)


def test_a_loop_that_is_told_to_end_takes_the_torque_off(servos: Servos, arm_file: Path) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        os.kill(loop_of(arm), signal.SIGTERM)
        _, errors = arm.communicate(timeout=PATIENCE)
        assert arm.returncode == 1
        assert 'has ended, for somebody told it to' in errors
    assert servos.has_torque(False)


@pytest.mark.parametrize('how', ['the node interrupted', 'the node killed', 'the loop told to end'])
def test_a_servo_that_could_not_be_told_is_the_last_word(
    servos: Servos, arm_file: Path, how: str
) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        assert servos.tell('miss 3') == 'ok'
        if how == 'the loop told to end':
            os.kill(loop_of(arm), signal.SIGTERM)
        else:
            arm.send_signal(signal.SIGINT if how == 'the node interrupted' else signal.SIGKILL)
        # To the end of all who may write there: a loop whose node is gone says it itself.
        _, errors = arm.communicate(timeout=PATIENCE)
    assert arm.returncode == (-signal.SIGKILL if how == 'the node killed' else 1)
    assert 'servo 3 (elbow) could not be told and may still have torque; switch its' in errors
    assert [number for number, servo in servos.state().items() if servo['torque']] == ['3']


def test_a_cable_that_is_plugged_in_again_takes_the_torque_off(
    servos: Servos, arm_file: Path
) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}') as arm:
        servos.until(lambda state: state['6']['torque'], 'the arm has torque')
        assert servos.tell('unplug') == 'ok'
        servos.until(have_tripped, 'every servo has stopped by itself')
        assert servos.has_torque(True)
        assert servos.tell('plug') == 'ok'
        servos.until(lambda _: servos.has_torque(False), 'the torque is off')
        assert arm.poll() is None, 'the node goes on'
        arm.send_signal(signal.SIGINT)
        _, errors = arm.communicate(timeout=PATIENCE)
        assert arm.returncode == 0, errors


def test_a_dry_run_never_has_torque(servos: Servos, arm_file: Path) -> None:
    with program('dynamixel_arm', f'arm:={arm_file}', 'dry_run:=true') as arm:
        servos.until(lambda state: state['6']['bus_watchdog'] > 0, 'the arm is set up')
        assert servos.has_torque(False)
        arm.send_signal(signal.SIGINT)
        assert arm.wait(PATIENCE) == 0


@pytest.fixture
def leader_file(tmp_path: Path) -> Path:
    """The reference leader with patience for a busy machine."""
    path = CONFIG.with_name('reference_leader.yaml')
    data = yaml.safe_load(path.read_text())
    data['urdf'] = str(path.with_name(data['urdf']))
    data['port'] = str(tmp_path / 'port')
    data['safety'] |= {'watchdog': 5.0, 'bus_watchdog': 2.0}
    return write_arm(tmp_path, data)


def test_killed_a_leaders_servos_let_go_by_themselves_and_told_to_end_it_lets_go(
    tmp_path: Path, leader_file: Path
) -> None:
    borne = 'gravity_compensation:=true'
    leader = Servos(tmp_path, leader_file, '--weight', '1')
    try:
        with program('leader_arm', f'arm:={leader_file}', borne) as node:
            leader.until(lambda state: abs(state['2']['current']) > 0.05, 'it is borne')
            node.kill()
            leader.until(
                lambda state: all(
                    servo['current'] == 0.0 and (servo['bus_watchdog'] < 0 or not servo['torque'])
                    for servo in state.values()
                ),
                'every servo has let go by itself',
            )
        with program('leader_arm', f'arm:={leader_file}', borne) as node:
            leader.until(lambda state: state['6']['bus_watchdog'] > 0, 'they bear it again')
            node.terminate()
            _, errors = node.communicate(timeout=PATIENCE)
            assert node.returncode == 0, errors
        assert leader.has_torque(False)
    finally:
        leader.process.terminate()
        leader.process.communicate(timeout=PATIENCE)


def refusal(name: str, *parameters: str) -> str:
    """What a program says before it ends with exit code 1."""
    with program(name, *parameters) as process:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1, errors
    assert 'Traceback' not in errors
    return errors


def test_a_port_that_is_not_there(arm_file: Path) -> None:
    said = refusal('dynamixel_arm', f'arm:={arm_file}', 'port:=/dev/nowhere')
    assert 'there is no port /dev/nowhere; plug it in' in said


def test_a_port_that_is_none(arm_file: Path, tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    said = refusal('dynamixel_arm', f'arm:={arm_file}', f'port:={tmp_path / "file"}')
    assert 'is not a serial port' in said


PERMISSION = """
import grp, os, sys  # what is imported later, nobody may not read
from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel.port import ServoPort
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
try:
    ServoPort(sys.argv[1], 1_000_000).openPort()
except ConfigurationError as error:
    print(error.message)
"""


def test_a_port_that_this_user_may_not_open() -> None:
    """A real one; everything is allowed to root, so the program becomes nobody first."""
    host, device = os.openpty()
    try:
        path = os.ttyname(device)
        Path(path).chmod(0)
        command = [sys.executable, '-c', PERMISSION, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    finally:
        os.close(host)
        os.close(device)
    assert done.stdout.startswith(f'the port {path} may not be opened by this user; run: sudo ')
    assert re.search(r'usermod -a -G \S+ \$USER, and log in again\n$', done.stdout)


def test_a_servo_of_another_model(servos: Servos, tmp_path: Path) -> None:
    data = reference()
    data['joints'][3]['model'] = 'XM540-W270'
    (tmp_path / 'other').mkdir()
    other = write_arm(tmp_path / 'other', data)
    said = refusal('dynamixel_arm', f'arm:={other}', f'port:={servos.port}')
    assert "servo 4 (wrist_pitch) of 'reference_arm' is XM430-W350" in said
    assert 'its file says XM540-W270' in said
    assert 'correct the file or the wiring' in said
    assert servos.has_torque(False)


def test_joints_that_the_task_does_not_name(servos: Servos, tmp_path: Path) -> None:
    data = reference()
    del data['plane']
    (tmp_path / 'other').mkdir()
    other = write_arm(tmp_path / 'other', data)
    said = refusal('dynamixel_arm', f'arm:={other}', f'port:={servos.port}')
    assert "task 'pusht' commands x, y, which are no joints of the arm 'reference_arm'" in said
    assert 'use the file of an arm with these joints, or give it a plane' in said
    assert servos.has_torque(False)


def test_a_servo_that_is_missing(servos: Servos, arm_file: Path) -> None:
    assert servos.tell('miss 3') == 'ok'
    for name in ('leader_arm', 'dynamixel_arm'):
        said = refusal(name, f'arm:={arm_file}')
        assert 'servo 3 (elbow)' in said
        assert 'does not answer; check its cable and power, its id and the baud rate' in said
    assert servos.has_torque(False)


def test_a_wrong_baud_rate(servos: Servos, tmp_path: Path) -> None:
    data = reference()
    data['baud_rate'] = 57600
    (tmp_path / 'slow').mkdir()
    slow = write_arm(tmp_path / 'slow', data)
    said = refusal('dynamixel_arm', f'arm:={slow}', f'port:={servos.port}')
    assert 'servo 1 (waist)' in said and 'the baud rate' in said
    assert servos.has_torque(False)


def test_a_port_that_somebody_has(servos: Servos, arm_file: Path) -> None:
    with program('leader_arm', f'arm:={arm_file}') as leader:
        assert leader.stderr is not None
        for line in leader.stderr:
            if 'held by' in line:
                break
        said = refusal('dynamixel_arm', f'arm:={arm_file}')
    assert 'is in use by another program; end that one first' in said


def test_a_watchdog_shorter_than_the_tasks_period(tmp_path: Path) -> None:
    data = reference()
    data['safety']['watchdog'] = 0.1
    said = refusal('dynamixel_arm', f'arm:={write_arm(tmp_path, data)}')
    assert 'raise safety.watchdog' in said
