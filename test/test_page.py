# SPDX-License-Identifier: Apache-2.0
"""What `make session` opens, in real Chromium: the shipped policy in the shipped world model."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
import re
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page, sync_playwright
import pytest

from hiwm_core.action import Source
from hiwm_core.episodes import read_episodes
from hiwm_core.rollout_tree import Label
from hiwm_core.task import load_task
from test.chromium import find_chromium
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


@pytest.fixture(params=['wm_session', 'robot_session'])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """A whole session on the world model, and on the simulated arm."""
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        f'{request.param}.launch.py',
        'port:=0',
        'seed:=8',
        'session:=page',
        f'record_dir:={tmp_path}',
    ]
    with Process(command, tmp_path / 'log') as session:
        yield session


class Person:
    """Somebody at the page."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def phase(self) -> str:
        return str(self.page.get_attribute('body', 'data-phase'))

    def step(self) -> int:
        return int(self.page.inner_text('#step'))

    def head(self) -> str:
        return self.page.inner_text('#branch')

    def take_over(self) -> None:
        def drives() -> bool:
            # On a busy machine the multiplexer may hear of a branch after the takeover, and pauses
            # once more: a person presses again.
            if self.phase() == 'paused':
                self.page.keyboard.press('t')
                time.sleep(0.5)
            return self.phase() == 'correcting'

        self.page.keyboard.press('t')
        time.sleep(0.5)
        until(drives, 'the person drives')

    def release(self) -> None:
        self.page.keyboard.press('t')
        until(lambda: self.phase() == 'paused', 'the wheel is let go')
        until(lambda: self.page.inner_text('#rate') == 'stands still', 'the scene stands still')

    def drive(self, key: str, steps: int) -> None:
        begin = self.step()
        self.page.keyboard.down(key)
        until(lambda: self.step() >= begin + steps, f'{steps} steps')
        self.page.keyboard.up(key)

    def label(self, label: str) -> None:
        self.page.click(f'[data-label={label}]')
        self.page.wait_for_selector(
            f'[data-label={label}][aria-pressed=true]', timeout=PATIENCE * 1e3
        )

    def branch(self, name: str) -> None:
        """At the node that is looked at."""
        self.page.fill('#name', name)
        self.page.keyboard.press('Escape')
        self.page.keyboard.press('b')
        until(lambda: self.head() == name, f'the branch {name}')


@pytest.mark.timeout(300)
def test_a_person_takes_over_goes_back_branches_and_judges(
    session: Process, tmp_path: Path
) -> None:
    address = until(
        lambda: re.search(r'Console: (http://127\.0\.0\.1:\d+/)(\?token=\S+)', session.text),
        'the session prints the address',
    )
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(address[1] + address[2])
        page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)
        person = Person(page)

        until(lambda: person.phase() == 'autonomous' and person.step() > 3, 'the policy drives')
        first = pixels(page)
        until(lambda: differs(page, first), 'the frames change')
        trunk = person.head()

        person.take_over()
        # Away from the edge first, so that there is room to the right.
        page.keyboard.down('a')
        until(lambda: pusher(page)[0] < 30, 'the pusher is at the left')
        page.keyboard.up('a')
        where = pusher(page)
        person.drive('d', steps=10)
        assert pusher(page)[0] > where[0] + 10, 'D moves the pusher to the right in the picture'
        person.release()
        end, late = person.step(), pixels(page)
        person.label('failure')

        page.fill('#rollback-steps', '8')
        page.click('[data-ask=rollback]')
        until(lambda: person.step() == end - 8, 'eight steps back')
        until(lambda: differs(page, late), 'the earlier frame shows')
        person.branch('upwards')
        person.take_over()
        person.drive('w', steps=4)
        person.release()
        person.label('success')
        upwards = person.step()

        # Another branch, from where one looks in the first run.
        page.click(f'#branches li[data-name="{trunk}"] button')
        for _ in range(4):
            page.keyboard.press('ArrowLeft')
        looked_at = page.locator('#scroller')
        until(
            lambda: f'step {end - 4} of' in str(looked_at.get_attribute('aria-valuetext')), 'a look'
        )
        person.branch('downwards')
        person.take_over()
        person.drive('s', steps=4)
        person.release()
        downwards = person.step()

        stranger = browser.new_context().new_page()
        answer = stranger.goto(address[1])
        assert answer is not None and answer.status == 403
        assert stranger.query_selector('#frame') is None
        browser.close()
    assert session.interrupt() == 0, session.text
    assert session.left_behind() == []
    assert address[2].removeprefix('?token=') not in session.text.replace(address[0], '')

    episodes = {one.branch: one for one in read_episodes(tmp_path / 'page', load_task('pusht'))}
    assert {name: (one.label, len(one.actions)) for name, one in episodes.items()} == {
        trunk: (Label.FAILURE, end),
        'upwards': (Label.SUCCESS, upwards),
        'downwards': (Label.NONE, downwards),
    }
    for name, steps in (('upwards', upwards - end + 8), ('downwards', downwards - end + 4)):
        chosen = episodes[name].sources[-steps:]
        assert Source.OPERATOR in chosen and Source.POLICY not in chosen, name
    assert Source.POLICY in episodes[trunk].sources
