# SPDX-License-Identifier: Apache-2.0
"""The keyboard node on a real pseudo-terminal, beside the real multiplexer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from typing import Any

from hiwm_msgs.msg import MuxState, RigState
from mux_graph import PATIENCE, SHIPPED, Graph
import pytest
import rclpy
import yaml

from hiwm_core import contract
from hiwm_rig.base_node import subscription

RUN = 'from hiwm_intervention.keyboard_node import main; main()'


class Person:
    """A terminal with the node in it, and somebody who types."""

    def __init__(self, *parameters: str, program: str = RUN) -> None:
        self._mine, theirs = pty.openpty()
        # The test keeps its own end open, to look at the settings after the node has gone.
        self._theirs = theirs
        self.before = self.settings()
        arguments = [part for parameter in parameters for part in ('-p', parameter)]
        self.process = subprocess.Popen(
            [sys.executable, '-c', program, '--ros-args', *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._seen = ''
        self._closed = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def settings(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self) -> None:
        while not self._closed.is_set():
            if select.select([self._mine], [], [], 0.05)[0]:
                self._seen += os.read(self._mine, 4096).decode(errors='replace')

    def type(self, keys: str) -> None:
        os.write(self._mine, keys.encode())

    def until_seen(self, text: str, times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._seen.count(text) < times:
            assert self.process.poll() is None or text in self._seen, self._seen
            assert time.monotonic() < deadline, f'{text!r} never came in {self._seen!r}'
            time.sleep(0.02)

    def end(self) -> int:
        return self.process.wait(timeout=PATIENCE)

    def shut_window(self) -> None:
        """The terminal is gone."""
        if not self._closed.is_set():
            self._closed.set()
            self._reader.join()
            os.close(self._mine)
            os.close(self._theirs)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.shut_window()


@pytest.fixture
def sit_down() -> Iterator[Callable[..., Person]]:
    seated: list[Person] = []

    def sit(*parameters: str, program: str = RUN) -> Person:
        seated.append(Person(*parameters, program=program))
        return seated[-1]

    yield sit
    for person in seated:
        person.close()


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[Graph]:
    """A multiplexer that loses nobody because this machine is busy, and a rig."""
    data = yaml.safe_load(SHIPPED.read_text())
    data['sources']['terminal']['timeout'] = PATIENCE
    (tmp_path / 'mux.yaml').write_text(yaml.safe_dump(data))
    rclpy.init(
        args=[
            '--ros-args',
            '-p',
            f'config:={tmp_path / "mux.yaml"}',
            '-p',
            'handover_timeout:=30.0',
        ]
    )
    made = Graph()
    made.serve_rig()
    made.node.create_timer(0.05, made.show)
    yield made
    made.close()
    rclpy.try_shutdown()


def take_over(person: Person, graph: Graph) -> None:
    """Ask once the service is known, and be granted it."""

    def granted() -> bool:
        if graph.states[-1].phase == MuxState.PHASE_PAUSED:
            person.type('t')
            time.sleep(0.2)
        return graph.states[-1].phase == MuxState.PHASE_CORRECTING

    graph.until(granted, 'the person drives')


def test_a_person_drives_from_a_terminal(graph: Graph, sit_down: Callable[..., Person]) -> None:
    proposals: list[Any] = []
    subscription(graph.node, contract.OPERATOR_ACTION, proposals.append)
    person = sit_down('operator_id:=ada', 'repeat_timeout:=2.0')
    person.until_seen('a tap is a short move')
    graph.until(lambda: graph.states, 'the multiplexer is heard')
    person.until_seen('paused')
    take_over(person, graph)
    assert graph.states[-1].operator_id == 'ada'
    graph.until(lambda: proposals and proposals[-1].idle, 'nothing is commanded yet')
    assert proposals[-1].device == 'terminal'
    person.type('d')
    graph.until(lambda: not proposals[-1].idle, 'the key is commanded')
    moving = proposals[-1]
    values = dict(zip(moving.names, moving.values, strict=True))
    assert values['x'] > 0.25
    assert values['y'] == 0.25
    person.type('r')
    graph.until_phase(MuxState.PHASE_PAUSED)
    graph.until(lambda: graph.view.mode == RigState.MODE_PAUSED, 'the rig is paused')
    person.type('q')
    assert person.end() == 0
    assert person.settings() == person.before


def test_who_quits_while_driving_lets_go(graph: Graph, sit_down: Callable[..., Person]) -> None:
    person = sit_down('operator_id:=ada')
    person.until_seen('paused')
    take_over(person, graph)
    person.type('q')
    graph.until_phase(MuxState.PHASE_PAUSED)
    assert person.end() == 0


def test_a_second_terminal_watches_and_asks(graph: Graph, sit_down: Callable[..., Person]) -> None:
    ada = sit_down('operator_id:=ada')
    grace = sit_down('operator_id:=grace')
    ada.until_seen('paused')
    take_over(ada, graph)
    grace.until_seen("'ada' drives")
    grace.type(' ')
    grace.until_seen("'ada' is in control")
    grace.type('t')
    ada.until_seen("'grace' asks for the wheel")
    assert graph.states[-1].operator_id == 'ada'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_terminal_as_it_was(
    sit_down: Callable[..., Person], number: signal.Signals
) -> None:
    person = sit_down()
    person.until_seen('waiting for the multiplexer')
    assert person.settings() != person.before
    person.process.send_signal(number)
    assert person.end() == 0
    assert person.settings() == person.before
    person.until_seen('\x1b[?1004l')


def test_a_fault_leaves_the_terminal_as_it_was(sit_down: Callable[..., Person]) -> None:
    person = sit_down(
        program='import sys\n'
        'from hiwm_intervention.terminal import Terminal\n'
        "Terminal().__enter__().say('entered')\n"
        'sys.stdin.readline()\n'
        "raise RuntimeError('a fault')"
    )
    person.until_seen('entered')
    assert person.settings() != person.before
    person.type('\n')
    assert person.end() == 1
    assert person.settings() == person.before


def test_who_shuts_the_window_lets_go(graph: Graph, sit_down: Callable[..., Person]) -> None:
    person = sit_down('operator_id:=ada')
    person.until_seen('paused')
    take_over(person, graph)
    person.shut_window()
    graph.until_phase(MuxState.PHASE_PAUSED)
    assert person.end() == 0


def test_without_a_terminal_it_says_so() -> None:
    done = subprocess.run(
        [sys.executable, '-c', RUN],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert 'standard input is not a terminal' in done.stderr
    assert 'Traceback' not in done.stderr
