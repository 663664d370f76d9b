# SPDX-License-Identifier: Apache-2.0
"""What `make session` opens, in real Chromium: the shipped policy in the shipped world model."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
import re
import shutil
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
import pytest

from test.process import Process

PATIENCE = 60.0
ARGUMENTS = [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
PIXELS = """() => {
  const canvas = document.getElementById('frame');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  return [canvas.width, canvas.height, btoa(String.fromCharCode(...data))];
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


def pixels(page: Page) -> NDArray[np.uint8]:
    """What the canvas shows, (H, W, 3)."""
    width, height, text = page.evaluate(PIXELS)
    data = np.frombuffer(base64.b64decode(text), np.uint8)
    return data.reshape(height, width, 4)[:, :, :3]


def differs(page: Page, picture: NDArray[np.uint8]) -> bool:
    """Whether the canvas shows something else."""
    return bool((pixels(page) != picture).any())


def pusher(page: Page) -> NDArray[np.float64]:
    """The centre of the blue disc in pixels, (x, y)."""
    red, green, blue = np.moveaxis(pixels(page).astype(int), -1, 0)
    rows, columns = np.nonzero((blue > red + 80) & (blue > green + 60))
    assert rows.size > 20, 'the blue disc is not in the picture'
    return np.array([columns.mean(), rows.mean()])


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Process]:
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        'wm_session.launch.py',
        'port:=0',
        'seed:=8',
        f'record_dir:={tmp_path}',
    ]
    with Process(command, tmp_path / 'log') as session:
        yield session
        assert session.interrupt() == 0, session.text
        assert session.left_behind() == []


@pytest.mark.timeout(300)
def test_a_person_takes_over_and_goes_back_in_the_imagined_scene(session: Process) -> None:
    address = until(
        lambda: re.search(r'Console: (http://127\.0\.0\.1:\d+/)(\?token=\S+)', session.text),
        'the session prints the address',
    )
    path = shutil.which('chromium') or shutil.which('chromium-browser')
    assert path, 'there is no Chromium here: apt-get install chromium'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(address[1] + address[2])
        page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)

        def phase() -> str:
            return str(page.get_attribute('body', 'data-phase'))

        def step() -> int:
            return int(page.inner_text('#step'))

        until(lambda: phase() == 'autonomous' and step() > 3, 'the policy drives')
        first = pixels(page)
        until(lambda: differs(page, first), 'the frames change')

        page.keyboard.press('t')
        until(lambda: phase() == 'correcting', 'the person drives')
        # Away from the edge first, so that there is room to the right.
        page.keyboard.down('a')
        until(lambda: pusher(page)[0] < 30, 'the pusher is at the left')
        page.keyboard.up('a')
        at, where = step(), pusher(page)
        page.keyboard.down('d')
        until(lambda: step() >= at + 10, 'ten steps')
        page.keyboard.up('d')
        assert pusher(page)[0] > where[0] + 10, 'D moves the pusher to the right in the picture'

        page.keyboard.press('Space')
        until(lambda: phase() == 'paused', 'the session pauses')
        until(lambda: page.inner_text('#rate') == 'stands still', 'the scene stands still')
        end, late = step(), pixels(page)
        page.fill('#rollback-steps', '8')
        page.click('[data-ask=rollback]')
        until(lambda: step() == end - 8, 'eight steps back')
        until(lambda: differs(page, late), 'the earlier frame shows')

        stranger = browser.new_context().new_page()
        answer = stranger.goto(address[1])
        assert answer is not None and answer.status == 403
        assert stranger.query_selector('#frame') is None
        browser.close()
