# SPDX-License-Identifier: Apache-2.0
"""A start of a physical rig, set up by a person at the console in real Chromium."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import re
import sys
import time
from typing import Any

from playwright.sync_api import Page, sync_playwright
import pytest

from hiwm_core import contract
from test.chromium import find_chromium
from test.probe import Probe, watching
from test.process import Process

PATIENCE = 60.0
ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run']
# Yellow of the overlay, in the canvas of marks.
COVERED = """() => {
  const canvas = document.getElementById('marks');
  const { width, height } = canvas;
  const { data } = canvas.getContext('2d').getImageData(0, 0, width, height);
  const found = [];
  for (let at = 0; at < data.length; at += 4) {
    const [red, green, blue, alpha] = data.slice(at, at + 4);
    if (red > 200 && green > 150 && blue < 130 && alpha > 40) found.push(at / 4);
  }
  const mean = (of) => found.reduce((sum, at) => sum + of(at), 0) / found.length;
  if (!found.length) return null;
  return [mean((at) => at % width) / width, mean((at) => Math.floor(at / width)) / height];
}"""


def until(holds: Callable[[], Any], what: str) -> Any:
    """The first true value of `holds()`."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f'waited in vain until {what}')


@pytest.fixture(scope='module')
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Probe, Page]]:
    """A physical rig, the multiplexer, the console, and a person at its page."""
    folder = tmp_path_factory.mktemp('desk')
    commands = {
        'rig': [sys.executable, '-m', 'test.dynamixel_rig', '-p', 'seed:=3'],
        'mux': ['ros2', 'run', 'hiwm_intervention', 'action_mux', '--ros-args'],
        'console': ['ros2', 'run', 'hiwm_intervention', 'console', '--ros-args', '-p', 'port:=0'],
    }
    path = find_chromium()
    with (
        watching() as probe,
        Process(commands['rig'], folder / 'rig'),
        Process(commands['mux'], folder / 'mux'),
        Process(commands['console'], folder / 'console') as console,
        sync_playwright() as playwright,
    ):
        url = until(lambda: re.search(r'Console: (\S+)', console.text), 'the console is there')[1]
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        page = browser.new_page(viewport={'width': 1280, 'height': 800})
        errors: list[str] = []
        page.on('pageerror', lambda error: errors.append(str(error)))
        page.goto(url)
        page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)
        until(lambda: probe.states and not probe.state.context, 'the rig shows itself')
        yield probe, page
        assert errors == []
        browser.close()


def says(page: Page, words: str, element: str = 'who') -> bool:
    return words in page.inner_text(f'#{element}')


def place(probe: Probe, seed: int, body: str) -> tuple[float, float]:
    """Where a start has a body, in shares of the picture."""
    task = probe.task
    scene = task.start_scene(seed)
    (names,) = [one.position for one in task.bodies if one.name == body]
    across, down = (float(scene[task.scene_index(name)]) for name in names)
    camera = task.camera
    return (
        across / camera.metres_per_pixel / camera.width,
        down / camera.metres_per_pixel / camera.height,
    )


def test_the_first_start_of_a_session_is_to_be_set_up(desk: tuple[Probe, Page]) -> None:
    probe, page = desk
    until(lambda: says(page, 'Set up start 3'), 'the guide is shown')
    assert says(page, 'Lay pusher and tee on their outlines', 'why')
    assert says(page, 'take your hands away, then press Ready', 'said')
    root, epoch = probe.state.node, probe.state.epoch
    page.click('#ready')
    until(lambda: not page.is_visible('#guide'), 'the guide has ended')
    until(lambda: says(page, 'A new run from start 3, set up in', 'said'), 'it says so')
    probe.until(lambda: probe.state.epoch == epoch + 1, 'a new root')
    assert probe.state.node != root and probe.state.step == 0
    assert not says(page, 'Set up'), "the rig's own word of it opens no other guide"


def test_a_start_is_shown_over_the_live_picture_until_it_is_set_up(
    desk: tuple[Probe, Page],
) -> None:
    probe, page = desk
    epoch = probe.state.epoch
    page.fill('#reset-seed', '17')
    page.click('[data-ask=reset]')
    until(lambda: says(page, 'Set up start 17'), 'the guide is shown')
    assert probe.state.epoch == epoch, 'nothing has been reset yet'
    covered = until(lambda: page.evaluate(COVERED), 'outlines are drawn')
    pusher, tee = (place(probe, 17, body) for body in ('pusher', 'tee'))
    for axis in (0, 1):
        low, high = sorted((pusher[axis], tee[axis]))
        assert low - 0.12 < covered[axis] < high + 0.12
    began = page.inner_text('#guide-time')
    until(lambda: page.inner_text('#guide-time') != began, 'time is counted')
    shown = int(page.get_attribute('#frame', 'data-count') or 0)
    until(
        lambda: int(page.get_attribute('#frame', 'data-count') or 0) > shown + 3,
        'the picture below goes on',
    )
    page.locator('#frame').focus()
    page.keyboard.press('Enter')
    until(lambda: says(page, 'A new run from start 17, set up in', 'said'), 'it has begun')
    probe.until(lambda: probe.state.epoch == epoch + 1, 'a new root')
    until(lambda: page.evaluate(COVERED) is None, 'the outlines are gone')


def test_a_reset_that_another_asks_for_is_guided_and_can_be_left(
    desk: tuple[Probe, Page],
) -> None:
    probe, page = desk
    epoch = probe.must(contract.RESET, seed=23).epoch
    until(lambda: says(page, 'Set up start 23'), 'the guide is shown')
    page.click('[data-ask=cancel_start]')
    until(lambda: not page.is_visible('#guide'), 'the guide has ended')
    until(lambda: says(page, 'The run goes on as it was', 'said'), 'it says so')
    probe.until(lambda: probe.state.epoch >= epoch, 'the epoch of the reset shows')
    assert probe.state.epoch == epoch, 'no other reset'


def test_who_drives_sets_nothing_up(desk: tuple[Probe, Page]) -> None:
    _, page = desk
    page.click('[data-ask=reset]')
    until(lambda: says(page, 'Set up start'), 'the guide is shown')
    page.locator('#frame').focus()

    def drives() -> bool:
        # On a machine that stalls, the arm's lock falls silent at times, and has to be let go.
        page.keyboard.press('Space' if says(page, 'Stopped') else 't')
        time.sleep(0.8)
        return says(page, 'You')

    until(drives, 'the page drives')
    until(lambda: not page.is_visible('#guide'), 'the guide has ended')
    page.keyboard.press('t')
    until(lambda: says(page, 'Paused'), 'the page has let go')
