# SPDX-License-Identifier: Apache-2.0
"""A desk for the browser tests: the arm, the multiplexer and the console as real processes, and a
person at a page in real Chromium."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
import os
from pathlib import Path
import signal
import socket
import subprocess
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
import pytest
from test.chromium import find_chromium

from hiwm_core.task import load_task

TOKEN = 'token-of-the-browser-test'
PATIENCE = 30.0  # s, for a busy machine; nothing is asserted about time
ARGUMENTS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
DRIVEN_STEPS = 8


def until(condition: Callable[[], Any], what: str, said: Callable[[], str] = str) -> Any:
    """The first true value of `condition`; `said` is asked only if there is none."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError(f'it did not happen within {PATIENCE:g} s: {what} {said()}')


class Process:
    """One `ros2 run`, with what it writes in a file."""

    def __init__(self, folder: Path, package: str, name: str, *parameters: str) -> None:
        self.output = folder / f'{name}-{time.monotonic_ns()}.log'
        settings = [word for one in parameters for word in ('-p', one)]
        with self.output.open('w') as output:
            self._process = subprocess.Popen(
                ['ros2', 'run', package, name, '--ros-args', *settings],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Its exit code; one that does not end is killed, so that it disturbs nobody."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        try:
            return self._process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()


class Console:
    """The console's process, which can be started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.process = Process(
            self._folder,
            'hiwm_intervention',
            'console',
            f'port:={self.port}',
            f'token:={TOKEN}',
            f'record_dir:={self._folder}',
            # Nobody's hand is at stake here, and the machine may be busy.
            'sample_timeout:=2.0',
        )
        line = until(
            lambda: [one for one in self.process.text().splitlines() if 'Console: ' in one],
            'the console prints its address',
        )
        self.url = line[0].split('Console: ')[1]

    @property
    def base(self) -> str:
        return f'http://127.0.0.1:{self.port}/'


class Operator:
    """A person at a page."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.page.on('pageerror', lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)

    def words(self) -> str:
        """What the page says of itself."""
        return '; '.join(self.text(element) for element in ('who', 'why', 'said', 'alarm'))

    def text(self, element: str) -> str:
        return self.page.inner_text(f'#{element}')

    @property
    def phase(self) -> str:
        return str(self.page.get_attribute('body', 'data-phase'))

    @property
    def step(self) -> int:
        return int(self.text('step'))

    @property
    def frames(self) -> int:
        return int(self.page.get_attribute('#frame', 'data-count') or 0)

    def pixels(self) -> NDArray[np.uint8]:
        """What the canvas shows, (H, W, 3)."""
        width, height, text = self.page.evaluate(
            """() => {
              const canvas = document.getElementById('frame');
              const { width, height } = canvas;
              const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
              const bytes = Array.from(data, (one) => String.fromCharCode(one));
              return [width, height, btoa(bytes.join(''))];
            }"""
        )
        return _pixels(width, height, text)

    def pusher(self) -> NDArray[np.float64]:
        """The centre of the blue disc in pixels, (x, y)."""
        red, green, blue = np.moveaxis(self.pixels().astype(int), -1, 0)
        rows, columns = np.nonzero((blue > red + 80) & (blue > green + 60))
        assert rows.size > 20, f'the blue disc is not in the picture; {self.words()}'
        return np.array([columns.mean(), rows.mean()])

    def wait_for(self, phase: str) -> None:
        until(lambda: self.phase == phase, phase, self.words)

    def reset(self, seed: int) -> None:
        epoch = self.text('epoch')
        self.page.fill('#reset-seed', str(seed))
        self.page.click('[data-ask=reset]')
        until(lambda: self.text('epoch') != epoch and self.step == 0, 'a new start')
        self.settle()

    def take_over(self) -> None:
        self.page.keyboard.press('t')
        self.wait_for('correcting')

    def drive(self, key: str, steps: int = DRIVEN_STEPS) -> None:
        start = self.step
        self.page.keyboard.down(key)
        until(lambda: self.step >= start + steps, f'{steps} steps')
        self.page.keyboard.up(key)

    def pause(self) -> None:
        self.page.keyboard.press('Space')
        self.wait_for('paused')
        self.settle()

    def go_on(self) -> None:
        """Press Space as somebody who has seen what is: not at once."""
        time.sleep(0.8)
        self.page.keyboard.press('Space')

    def settle(self) -> None:
        """Wait until a paused rig has shown its frame a few times."""
        until(lambda: self.text('rate') == 'stands still', 'the rig stands')
        shown = self.frames
        until(lambda: self.frames >= shown + 4, 'frames')

    def release(self) -> None:
        self.page.keyboard.press('t')
        self.wait_for('paused')
        self.settle()

    def roll_back(self, steps: int) -> None:
        end = self.step
        self.page.fill('#rollback-steps', str(steps))
        self.page.click('[data-ask=rollback]')
        until(lambda: self.step == end - steps, f'{steps} steps back', self.words)
        self.settle()

    def branches(self) -> list[str]:
        """The names beside the lanes, from the top."""
        return self.page.eval_on_selector_all(
            '#branches li',
            """entries => entries
              .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
              .map((entry) => entry.dataset.name)""",
        )

    @property
    def looked_at(self) -> str:
        """What the timeline says of the node that is looked at."""
        return str(self.page.get_attribute('#scroller', 'aria-valuetext'))

    def past(self) -> NDArray[np.uint8] | None:
        """The frame of the past in front of the live one, (H, W, 3); None: there is none yet."""
        found = self.page.evaluate(
            """() => {
              const canvas = document.querySelector('#past:not([hidden]) canvas');
              if (!canvas?.dataset.node) return null;
              const { width, height } = canvas;
              const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
              const bytes = Array.from(data, (one) => String.fromCharCode(one));
              return [width, height, btoa(bytes.join(''))];
            }"""
        )
        return None if found is None else _pixels(*found)


def _pixels(width: int, height: int, text: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return data.reshape(height, width, 4)[:, :, :3]


def free_start() -> int:
    """A seed whose pusher is at the left with nothing between it and the right."""
    task = load_task('pusht')
    for seed in range(1000):
        pusher_x, pusher_y, _, tee_y, _ = task.start_scene(seed)
        if pusher_x < 0.15 and abs(pusher_y - tee_y) > 0.2:
            return seed
    raise AssertionError('no such start')


@pytest.fixture(scope='module')
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """The arm in realtime, the multiplexer and the console."""
    folder = tmp_path_factory.mktemp('console')
    arm = Process(folder, 'hiwm_robot', 'sim_arm')
    mux = Process(folder, 'hiwm_intervention', 'action_mux')
    console = Console(folder)
    yield console
    codes = []
    for one in (console.process, mux, arm):
        codes.append(one.stop())
        # Fast DDS 2.14 may spin in a participant's destruction while it hears of another's
        # (eProsima/Fast-DDS#6513): one after the other.
        time.sleep(0.5)
    assert codes == [0, 0, 0], '\n'.join(one.text() for one in (console.process, mux, arm))


@pytest.fixture
def desk(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={'width': 1280, 'height': 800})
    yield context
    context.close()


@pytest.fixture
def operator(console: Console, desk: BrowserContext) -> Iterator[Operator]:
    operator = Operator(desk, console.url)
    until(lambda: operator.phase in {'paused', 'locked', 'correcting'}, 'the multiplexer')
    if operator.phase == 'locked':
        operator.go_on()
    operator.wait_for('paused')
    operator.reset(free_start())
    yield operator
    assert operator.errors == []
