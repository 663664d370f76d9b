# SPDX-License-Identifier: Apache-2.0
"""Devices of the page, and how long it takes from a hand to the changed picture, in Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
import struct
import threading
from typing import Any

from aiohttp import ClientSession, CookieJar, WSMsgType
from browser_desk import PATIENCE, TOKEN, Console, Operator, until
import cv2
import numpy as np
from playwright.sync_api import BrowserContext
import pytest

DELAY = 0.15  # s


class SlowRoad:
    """A TCP road to a port of this machine on which everything from there comes later."""

    def __init__(self, port: int, delay: float) -> None:
        self._target, self._delay = port, delay
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, '127.0.0.1', 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def close(self) -> None:
        def stop() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_later(0.1, self._loop.stop)

        self._loop.call_soon_threadsafe(stop)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection('127.0.0.1', self._target)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._carry(reader, far_writer, 0.0))
            both.create_task(self._carry(far_reader, writer, self._delay))

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
    ) -> None:
        while data := await reader.read(65536):
            self._loop.call_later(delay, writer.write, data)
        self._loop.call_later(delay, writer.close)


@pytest.fixture
def road(console: Console) -> Iterator[SlowRoad]:
    road = SlowRoad(console.port, DELAY)
    yield road
    road.close()


def drive_and_measure(operator: Operator) -> float:
    operator.take_over()
    operator.drive('d', steps=6)
    operator.drive('a', steps=6)
    cell = operator.page.locator('#latency')
    until(lambda: int(cell.get_attribute('data-count') or 0) >= 8, 'answered inputs')
    operator.release()
    return float(cell.get_attribute('data-p50') or 0)


def test_a_server_that_is_150_ms_late_is_seen_to_be(
    operator: Operator, road: SlowRoad, desk: BrowserContext, record_property: Any
) -> None:
    direct = drive_and_measure(operator)
    far = Operator(desk, f'http://127.0.0.1:{road.port}/?token={TOKEN}')
    late = drive_and_measure(far)
    record_property('p50_ms', {'direct': direct, 'late': late})
    print(f'latency p50: {direct:.0f} ms, with {DELAY * 1e3:.0f} ms on the way {late:.0f} ms')
    assert direct > 0
    assert late >= DELAY * 1e3
    assert far.errors == []


def test_a_drag_on_the_picture_drives(operator: Operator) -> None:
    before = operator.pusher()
    operator.take_over()
    box = operator.page.locator('#picture').bounding_box()
    assert box is not None
    # Anywhere in the picture: the press clutches, and only the way counts.
    x, y = box['x'] + 0.3 * box['width'], box['y'] + 0.7 * box['height']
    operator.page.mouse.move(x, y)
    operator.page.mouse.down()
    for part in range(1, 21):
        operator.page.mouse.move(x + part / 20 * 0.2 * box['width'], y)
    until(lambda: operator.pusher()[0] > before[0] + 0.17 * 96, 'the pusher to follow')
    until(lambda: 'time stands still' in operator.text('who'), 'the hand to rest')
    operator.page.mouse.up()
    assert operator.pusher() == pytest.approx([before[0] + 0.2 * 96, before[1]], abs=2.0)
    operator.pause()


GAMEPAD = """() => {
  window.pad = {
    id: 'Test pad (Vendor: 1)', index: 0, connected: true, mapping: 'standard',
    axes: [0, 0, 0, 0], buttons: Array.from({ length: 17 }, () => ({ pressed: false, value: 0 })),
  };
  navigator.getGamepads = () => [window.pad];
  window.dispatchEvent(new Event('gamepadconnected'));
}"""


def test_a_gamepad_drives_while_its_dead_man_is_held(operator: Operator) -> None:
    before = operator.pusher()
    operator.page.evaluate(GAMEPAD)
    operator.page.evaluate('window.pad.buttons[9].pressed = true')
    operator.wait_for('correcting')
    operator.page.evaluate(
        """() => {
          window.pad.buttons[9].pressed = false;
          window.pad.buttons[4].pressed = true;
          window.pad.axes[0] = 1;
        }"""
    )
    until(lambda: operator.pusher()[0] > before[0] + 8, 'the stick to drive')
    operator.page.evaluate('window.pad.buttons[4].pressed = false')
    operator.wait_for('paused')


def test_hard_starts_are_remembered_and_begun_again(operator: Operator) -> None:
    seed = operator.text('remember-seed')
    operator.page.click('#remember')
    entry = operator.page.locator('#starts li', has_text=seed)
    until(lambda: entry.count() == 1, 'the start in the list')
    operator.reset(7)
    epoch = operator.text('epoch')
    entry.locator('.start').click()
    until(lambda: operator.text('epoch') != epoch, 'a new run')
    until(lambda: operator.text('remember-seed') == seed, 'the same start')
    entry.locator('.tool').click()
    until(lambda: entry.count() == 0, 'an empty list')


def test_time_runs_slower_and_faster(operator: Operator) -> None:
    for speed in ('0.25', '4', '1'):
        operator.page.click(f'[data-speed="{speed}"]')
        chosen = f'[data-speed="{speed}"][aria-checked=true]'
        operator.page.wait_for_selector(chosen, timeout=PATIENCE * 1e3)


def test_stop_has_a_key_that_works_everywhere(operator: Operator) -> None:
    operator.page.click('#note')
    operator.page.keyboard.type('x')
    assert operator.phase == 'paused', 'in a field it is a letter'
    operator.page.keyboard.press('Pause')
    operator.wait_for('locked')
    operator.page.keyboard.press('Escape')
    operator.go_on()
    operator.wait_for('paused')
    operator.page.keyboard.press('x')
    operator.wait_for('locked')
    operator.go_on()
    operator.wait_for('paused')


def test_resampling_begins_a_branch_and_lets_the_policy_drive(operator: Operator) -> None:
    branch = operator.text('branch')
    operator.page.keyboard.press('r')
    operator.wait_for('autonomous')
    until(lambda: operator.text('branch') != branch, 'another branch')
    operator.page.keyboard.press('Space')
    operator.wait_for('paused')


def test_the_theme_can_be_chosen_and_is_kept(operator: Operator) -> None:
    page = operator.page
    back = 'getComputedStyle(document.body).backgroundColor'
    page.emulate_media(color_scheme='light')
    light = page.evaluate(back)
    page.emulate_media(color_scheme='dark')
    dark = page.evaluate(back)
    assert dark != light
    page.click('#theme')
    assert page.evaluate(back) == light
    page.reload()
    page.wait_for_selector('#frame[data-count]')
    assert page.evaluate(back) == light
    page.click('#theme')
    assert page.evaluate(back) == dark
    page.click('#theme')


def test_a_page_of_the_interactive_world_simulator_drives_this_rig(
    operator: Operator, console: Console
) -> None:
    """As its own page does: init, then keys; frames come back with the time of the key."""

    async def play() -> tuple[list[float], list[float]]:
        times, columns = [], []
        async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
            await session.get(console.url)
            base = console.base.rstrip('/')
            async with session.ws_connect(f'{base}/ws/iws', headers={'Origin': base}) as socket:
                await socket.send_json({'type': 'set_task', 'task': 'towel'})
                refusal = await until_text(socket)
                assert "the task is 'pusht'" in refusal['message']
                await socket.send_json({'type': 'init', 'task': 'pusht'})
                # Whatever start is drawn, one of two opposite keys has room.
                key, turn = 'd', 0
                while len(set(times)) < 3:
                    turn += 1
                    if turn % 12 == 1:
                        key = 'a' if key == 'd' else 'd'
                        action = {**dict.fromkeys('wasdijkl', 0), key: 1}
                        await socket.send_json({'action': action, 't_client': 1000.0 + turn})
                    message = await socket.receive(timeout=30)
                    assert message.type is WSMsgType.BINARY
                    (at,) = struct.unpack('>d', message.data[:8])
                    times.append(at) if at else None
                    frame = cv2.imdecode(np.frombuffer(message.data[8:], np.uint8), 1)
                    assert frame is not None and frame.shape == (96, 96, 3)
                    blue = (frame[..., 0] > 150) & (frame[..., 1] < 160) & (frame[..., 2] < 120)
                    columns.append(float(np.nonzero(blue)[1].mean()))
        return times, columns

    async def until_text(socket: Any) -> Any:
        while True:
            message = await socket.receive(timeout=30)
            if message.type is WSMsgType.TEXT:
                return message.json()

    # Playwright has an event loop in this thread.
    with ThreadPoolExecutor(1) as pool:
        times, columns = pool.submit(lambda: asyncio.run(play())).result()
    assert all(at > 1000.0 for at in times)
    assert max(columns) - min(columns) > 2, 'the pusher moves in the frames'
    operator.wait_for('paused')
