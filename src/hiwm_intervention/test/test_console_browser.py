# SPDX-License-Identifier: Apache-2.0
"""The console in real Chromium, with the simulated arm and the multiplexer as real processes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import signal
import socket
import subprocess
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
import pytest

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
              return [width, height, btoa(String.fromCharCode(...data))];
            }"""
        )
        data = np.frombuffer(base64.b64decode(text), np.uint8)
        return data.reshape(height, width, 4)[:, :, :3]

    def pusher(self) -> NDArray[np.float64]:
        """The centre of the blue disc in pixels, (x, y)."""
        red, green, blue = (self.pixels()[:, :, channel].astype(int) for channel in range(3))
        rows, columns = np.nonzero((blue > red + 80) & (blue > green + 60))
        assert rows.size > 20, 'the blue disc is not in the picture'
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

    def settle(self) -> None:
        """Wait until a paused rig has shown its frame a few times."""
        until(lambda: self.text('rate') == 'stands still', 'the rig stands')
        shown = self.frames
        until(lambda: self.frames >= shown + 4, 'frames')

    def branches(self) -> list[str]:
        return self.page.eval_on_selector_all(
            '#branches .entry-name', 'entries => entries.map((entry) => entry.textContent)'
        )


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
    names = ('chromium', 'chromium-browser', 'google-chrome')
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail('there is no Chromium here: apt-get install chromium')
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
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
        operator.page.keyboard.press('Space')
    operator.wait_for('paused')
    operator.reset(free_start())
    yield operator
    assert operator.errors == []


def test_holding_d_moves_the_pusher_to_the_right_in_the_picture(operator: Operator) -> None:
    before, shown, picture = operator.pusher(), operator.frames, operator.pixels()
    operator.take_over()
    assert operator.text('who') == 'You drive'
    operator.drive('d')
    operator.pause()
    after = operator.pusher()
    assert operator.frames > shown
    assert (operator.pixels() != picture).any()
    assert after[0] > before[0] + 0.5 * DRIVEN_STEPS * 0.025 / 0.512 * 96
    assert after[1] == pytest.approx(before[1], abs=1.5)
    operator.take_over()
    operator.drive('a')
    operator.pause()
    assert operator.pusher()[0] < after[0] - 5


def test_roll_back_shows_the_earlier_frame_pixel_for_pixel(operator: Operator) -> None:
    operator.take_over()
    operator.drive('d')
    operator.pause()
    step, picture = operator.step, operator.pixels()
    operator.take_over()
    operator.drive('s')
    operator.pause()
    assert (operator.pixels() != picture).any()
    operator.page.fill('#rollback-steps', str(operator.step - step))
    operator.page.keyboard.press('Escape')
    operator.page.keyboard.press('Backspace')
    until(lambda: operator.step == step, 'the earlier step')
    operator.settle()
    assert (operator.pixels() == picture).all()
    assert 'Back at step' in operator.text('said')
    assert operator.text('who') == 'Paused: nobody drives'


def test_branches_appear_are_judged_and_lead_back(operator: Operator) -> None:
    before = operator.branches()
    operator.take_over()
    operator.drive('d')
    operator.pause()
    end, picture = operator.step, operator.pixels()
    trunk = operator.text('branch')
    operator.page.keyboard.press('Backspace')  # the usual number of steps is further than the start
    until(lambda: 'is too far' in operator.text('alarm'), 'a refusal in words')
    operator.page.fill('#rollback-steps', '3')
    operator.page.click('[data-ask=rollback]')
    until(lambda: operator.step == end - 3, 'three steps back')
    name = f'left-{time.monotonic_ns()}'
    operator.page.fill('#branch-name', name)
    operator.page.click('[data-ask=branch]')
    until(lambda: name in operator.branches(), 'the branch in the list')
    until(lambda: operator.text('branch') == name, 'the branch at the head')
    assert set(operator.branches()) >= {*before, name}
    operator.take_over()
    operator.drive('a', steps=4)
    operator.pause()
    operator.page.click('[data-label=failure]')
    entry = operator.page.locator(f'#branches li[data-name="{name}"]')
    until(lambda: 'failure' in entry.inner_text(), 'the label')
    assert f'from {trunk} at step {end - 3}' in entry.inner_text()
    operator.page.fill('#checkpoint-name', f'spot-{name}')
    operator.page.click('[data-ask=checkpoint]')
    until(lambda: f'spot-{name}' in operator.text('checkpoints'), 'the checkpoint')
    operator.page.click(f'#branches li[data-name="{trunk}"] button')
    until(lambda: operator.step == end, 'the end of the first branch')
    operator.settle()
    assert (operator.pixels() == picture).all()


def test_losing_the_focus_lets_the_keys_go(operator: Operator) -> None:
    operator.take_over()
    operator.page.keyboard.down('d')
    until(lambda: operator.page.query_selector('.cap.down'), 'a key that is down')
    operator.page.evaluate("window.dispatchEvent(new Event('blur'))")
    assert operator.page.query_selector('.cap.down') is None
    step = operator.step
    until(lambda: operator.step > step + 6, 'the arm to come to rest')
    rest, step = operator.pusher(), operator.step
    until(lambda: operator.step > step + 5, 'steps without a key')
    assert operator.pusher() == pytest.approx(rest, abs=0.6)
    assert operator.phase == 'correcting', 'the page is still there, so it still drives'
    operator.page.keyboard.up('d')


def test_a_key_cap_that_is_pressed_and_held_drives(operator: Operator) -> None:
    before = operator.pusher()
    operator.take_over()
    box = operator.page.locator('.cap', has_text='D').bounding_box()
    assert box is not None
    operator.page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] / 2)
    operator.page.mouse.down()
    start = operator.step
    until(lambda: operator.step >= start + DRIVEN_STEPS, 'steps')
    operator.page.mouse.up()
    assert operator.page.query_selector('.cap.down') is None
    operator.pause()
    assert operator.pusher()[0] > before[0] + 5


def test_typing_a_name_does_not_drive(operator: Operator) -> None:
    operator.page.click('#note')
    operator.page.keyboard.type('was bad at start')
    assert operator.page.input_value('#note') == 'was bad at start'
    assert operator.phase == 'paused'
    operator.page.keyboard.press('Escape')
    assert operator.page.evaluate('document.activeElement.id') == 'frame'


def test_a_second_page_watches_and_can_stop(operator: Operator, desk: BrowserContext) -> None:
    second = Operator(desk, operator.page.url)
    operator.take_over()
    until(lambda: second.text('who') == 'Another operator drives', 'the second page to watch')
    second.page.keyboard.press('t')
    until(lambda: 'is in control' in second.text('alarm'), 'a refusal in words')
    shown = second.frames
    until(lambda: second.frames > shown, 'the second page to see frames')
    second.page.click('.stop')
    operator.wait_for('locked')
    assert operator.text('who') == 'Stopped'
    operator.page.keyboard.press('Space')
    operator.wait_for('paused')


def test_a_page_that_closes_while_it_drives_pauses_the_session(
    operator: Operator, desk: BrowserContext
) -> None:
    second = Operator(desk, operator.page.url)
    operator.take_over()
    operator.page.keyboard.down('d')
    second.wait_for('correcting')
    operator.page.close()
    second.wait_for('paused')
    second.take_over()
    second.pause()


def test_without_the_token_there_is_nothing(
    operator: Operator, console: Console, chromium: Browser
) -> None:
    assert 'token' not in operator.page.url
    with chromium.new_context() as context:
        page = context.new_page()
        response = page.goto(console.base)
        assert response is not None and response.status == 403
        assert page.query_selector('canvas, script, img') is None
        for path in ('console.js', 'ws', '?token=guess'):
            assert page.request.get(console.base + path).status == 403
        outcome = page.evaluate(
            """() => new Promise((settle) => {
              const socket = new WebSocket(`ws://${location.host}/ws`);
              socket.onmessage = () => settle('a message');
              socket.onclose = () => settle('closed');
            })"""
        )
        assert outcome == 'closed'


def test_the_page_comes_back_after_the_console_does(operator: Operator, console: Console) -> None:
    console.process.stop(signal.SIGKILL)
    operator.wait_for('offline')
    assert operator.text('who') == 'Not connected'
    shown = operator.frames
    console.start()
    operator.wait_for('paused')
    until(lambda: operator.frames > shown, 'frames again')
    operator.take_over()
    operator.drive('d', steps=3)
    operator.pause()


def test_the_token_is_written_once(operator: Operator, console: Console) -> None:
    assert console.process.text().count(TOKEN) == 1


@pytest.mark.parametrize('width', [1280, 390])
def test_nothing_jumps_while_a_session_goes_on(operator: Operator, width: int) -> None:
    operator.page.set_viewport_size({'width': width, 'height': 800})
    operator.settle()
    operator.page.evaluate(
        """() => {
          window.shifts = 0;
          new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) window.shifts += entry.value;
          }).observe({ type: 'layout-shift' });
        }"""
    )
    operator.take_over()
    operator.drive('d')
    operator.pause()
    operator.page.fill('#rollback-steps', '5')
    operator.page.click('[data-ask=rollback]')
    operator.settle()
    operator.page.click('[data-ask=release]', force=True)
    until(lambda: 'nothing to release' in operator.text('alarm'), 'a refusal in words')
    operator.page.click('.stop')
    operator.wait_for('locked')
    operator.page.click('#pause')
    operator.wait_for('paused')
    assert operator.page.evaluate('window.shifts') < 0.01
    width_needed = operator.page.evaluate('document.documentElement.scrollWidth')
    assert width_needed <= width, 'nothing has to be scrolled sideways'


CONTRAST = """() => {
  const channel = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll('body *')) {
    const words = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!words || !element.checkVisibility() || element.closest('#picture')) continue;
    const opacity = Number(getComputedStyle(element).opacity);
    const back = behind(element);
    const front = parse(getComputedStyle(element).color).slice(0, 3)
      .map((value, index) => value * opacity + back[index] * (1 - opacity));
    const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) bad.push(`${element.textContent.trim()} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_every_word_has_the_contrast_of_wcag_aa(operator: Operator, scheme: Any) -> None:
    operator.page.emulate_media(color_scheme=scheme)
    phases = ('autonomous', 'paused', 'handover', 'correcting', 'locked', 'unknown', 'offline')
    for phase in phases:
        bad = operator.page.evaluate(
            f"""() => {{
              document.body.dataset.phase = '{phase}';
              document.getElementById('alarm').textContent = 'Something is wrong.';
              return ({CONTRAST})();
            }}"""
        )
        assert bad == [], f'{scheme}, {phase}'


def test_everything_can_be_reached_by_keyboard_and_shows_its_focus(operator: Operator) -> None:
    seen = set()
    for _ in range(60):
        operator.page.keyboard.press('Tab')
        reached = operator.page.evaluate(
            """() => {
              const element = document.activeElement;
              const style = getComputedStyle(element);
              const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
              return [element.id || element.dataset.ask || '', visible];
            }"""
        )
        if reached[0]:
            assert reached[1], f'{reached[0]} shows no focus'
            seen.add(reached[0])
    wanted = {'stop', 'help-open', 'take_over', 'release', 'pause', 'step', 'rollback-steps'}
    assert seen >= {*wanted, 'branch', 'checkpoint', 'reset', 'label', 'note', 'show-marks'}
    operator.page.focus('#help-open')
    operator.page.keyboard.press('Enter')
    assert operator.page.is_visible('#help')
    operator.page.keyboard.press('Escape')
    assert not operator.page.is_visible('#help')
