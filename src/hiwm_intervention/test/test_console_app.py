# SPDX-License-Identifier: Apache-2.0
"""The web application from outside: who may come in, what a page gets, how slow it may be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
import json
from typing import Any

from aiohttp import WSMsgType, WSServerHandshakeError
from aiohttp.test_utils import TestClient, TestServer
import numpy as np
import pytest

from hiwm_intervention.console_access import Access
from hiwm_intervention.console_app import Callbacks, ConsoleApp
from hiwm_intervention.console_iws import Begin
from hiwm_intervention.console_page import WINDOW, Scene
from hiwm_intervention.console_protocol import Ask, Hold, unpack_view

TOKEN = 'a-token-of-the-test'


class Seat:
    """An application under test, a client, and what the application reported."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.said: list[tuple[str, Hold | Ask | Begin]] = []
        self.wanted: list[tuple[list[int], int]] = []
        self.silent = False  # the rig
        self.closed: list[str] = []
        self.app = ConsoleApp(
            Access(TOKEN, ['http://elsewhere.example', 'null']),
            Callbacks(
                on_open=self._open,
                on_message=lambda page, message: self.said.append((page, message)),
                on_close=self.closed.append,
                on_frames=self._fetch,
                on_sessions=lambda: [{'session': 'monday'}],
            ),
        )
        self.client = TestClient(TestServer(self.app.application()))

    def _open(self, page: str) -> dict[str, Any]:
        self.opened.append(page)
        return {'type': 'hello', 'page': page}

    def _fetch(self, nodes: Sequence[int], width: int) -> None:
        """The rig's part, unless it is silent: every node up to 90 has a picture."""
        self.wanted.append((list(nodes), width))
        if self.silent:
            return
        frames = {node: b'picture %d of %d' % (node, width) for node in nodes if node <= 90}
        asyncio.get_running_loop().call_later(0.01, self.app.take_frames, width, frames)

    async def enter(self) -> None:
        assert (await self.client.get('/', params={'token': TOKEN})).status == 200

    async def connect(self, **headers: str) -> Any:
        origin = str(self.client.make_url('/')).rstrip('/')
        socket = await self.client.ws_connect('/ws', headers={'Origin': origin, **headers})
        hello = await socket.receive_json(timeout=5)
        assert hello['page'] == self.opened[-1]
        return socket

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0.005)


def run(test: Callable[[Seat], Awaitable[None]]) -> None:
    async def body() -> None:
        seat = Seat()
        async with seat.client:
            await test(seat)

    asyncio.run(body())


async def views(socket: Any, *, seen: bool = True, wait: float = 0.5) -> list[dict[str, Any]]:
    """All views that come until nothing comes for a while; the size of their images as 'bytes'."""
    got: list[dict[str, Any]] = []
    while True:
        try:
            message = await socket.receive(timeout=wait)
        except TimeoutError:
            return got
        assert message.type is WSMsgType.BINARY
        view, image = unpack_view(message.data)
        got.append({**view, 'bytes': len(image)})
        if seen:
            await socket.send_json({'type': 'seen', 'seq': view['seq']})


# -- who may come in -------------------------------------------------------------------------------

PATHS = [
    '/',
    '/frame/a/1',
    '/sessions',
    '/ws/iws',
    '/console.js',
    '/console.css',
    '/icon.svg',
    '/ws',
    '/index.html',
    '/nothing',
    '/a/b',
]


@pytest.mark.parametrize('path', PATHS)
@pytest.mark.parametrize('query', ['', '?token=', '?token=wrong', f'?token={TOKEN}x'])
def test_without_the_token_there_is_a_403_and_nothing_else(path: str, query: str) -> None:
    async def body(seat: Seat) -> None:
        response = await seat.client.get(path + query)
        assert response.status == 403
        assert not response.cookies
        assert (await response.text()).count('\n') == 1
        assert seat.opened == []

    run(body)


def test_the_token_opens_the_page_and_only_the_page() -> None:
    async def body(seat: Seat) -> None:
        assert (await seat.client.get('/console.js', params={'token': TOKEN})).status == 403
        response = await seat.client.get('/', params={'token': TOKEN})
        assert response.status == 200
        assert response.content_type == 'text/html'
        (cookie,) = response.cookies.values()
        assert cookie['httponly'] and cookie['samesite'] == 'Strict'
        assert TOKEN not in cookie.value
        for name in ('console.js', 'console.css', 'icon.svg', 'keys.js'):
            assert (await seat.client.get(f'/{name}')).status == 200
        assert (await seat.client.get('/nothing.js')).status == 404
        for outside in ('/..%2fconsole_app.py', '/%2e%2e/console_app.py'):
            assert (await seat.client.get(outside)).status == 404

    run(body)


def test_the_page_asks_no_other_server_for_anything() -> None:
    async def body(seat: Seat) -> None:
        response = await seat.client.get('/', params={'token': TOKEN})
        policy = response.headers['Content-Security-Policy']
        assert policy.startswith("default-src 'none'")
        assert 'unsafe' not in policy and '*' not in policy
        assert response.headers['Cache-Control'] == 'no-store'

    run(body)


@pytest.mark.parametrize(
    'origin', ['http://evil.example', 'http://127.0.0.1:1', 'null', '', 'http://localhost']
)
def test_another_origin_is_refused(origin: str) -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        with pytest.raises(WSServerHandshakeError) as refusal:
            await seat.client.ws_connect('/ws', headers={'Origin': origin})
        assert refusal.value.status == 403
        assert seat.opened == []

    run(body)


# -- messages --------------------------------------------------------------------------------------


def test_what_a_page_says_arrives_and_garbage_is_counted() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        socket = await seat.connect()
        await socket.send_str('{"type": "hold", "keys": {"d": 1}}')
        for text in ('', 'x', '{"type": "ask", "id": 1, "name": "fly"}', '[[[['):
            await socket.send_str(text)
        await socket.send_bytes(b'\x00\x01')
        await socket.send_str('{"type": "ask", "id": 8, "name": "pause"}')
        await seat.until(lambda: len(seat.said) == 2)
        (page,) = seat.opened
        assert seat.said == [(page, Hold({'d': 1.0})), (page, Ask(8, 'pause', {}))]
        assert seat.app.ignored_messages == 5

    run(body)


def test_a_message_that_is_too_long_ends_the_connection() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        socket = await seat.connect()
        await socket.send_str(json.dumps({'type': 'hold', 'keys': {'x' * 10_000: 1}}))
        assert (await socket.receive(timeout=5)).type is WSMsgType.CLOSE
        await seat.until(lambda: seat.closed == seat.opened)
        assert seat.said == []

    run(body)


@pytest.mark.parametrize(
    ('name', 'why'), [('rollback', 'cannot be read'), ('fly', 'load the page again')]
)
def test_an_ask_that_cannot_be_done_as_it_is_is_answered(name: str, why: str) -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        socket = await seat.connect()
        await socket.send_str(json.dumps({'type': 'ask', 'id': 5, 'name': name, 'steps': 0}))
        reply = await socket.receive_json(timeout=5)
        kind = (reply['type'], reply['id'], reply['name'], reply['ok'])
        assert kind == ('reply', 5, name, False)
        assert why in reply['text']
        assert seat.said == []
        assert seat.app.ignored_messages == 1

    run(body)


def test_replies_go_to_the_page_that_asked() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        one, two = await seat.connect(), await seat.connect()
        seat.app.take_reply(seat.opened[1], {'type': 'reply', 'id': 3})
        seat.app.take_reply('page-gone', {'type': 'reply', 'id': 4})
        assert (await two.receive_json(timeout=5)) == {'type': 'reply', 'id': 3}
        assert await views(one, wait=0.1) == []

    run(body)


def test_a_page_that_goes_is_reported_once() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        socket = await seat.connect()
        await socket.close()
        await seat.until(lambda: seat.closed)
        assert seat.closed == seat.opened

    run(body)


# -- views -----------------------------------------------------------------------------------------


NEWS: dict[str, Any] = {
    'generation': 0,
    'nodes': [[1, 0, 0, 0, 0]],
    'lanes': [{'number': 0, 'name': 'run-1'}],
    'checkpoints': None,
    'whole': True,
}


def frame(value: int) -> np.ndarray[Any, Any]:
    return np.full((96, 96, 3), value, np.uint8)


def test_a_new_page_gets_what_there_is_at_once() -> None:
    async def body(seat: Seat) -> None:
        seat.app.take_view({'step': 4})
        seat.app.take_tree(NEWS)
        seat.app.take_frame(frame(9), 123_456_789_012_345_678)
        await seat.enter()
        (view,) = await views(await seat.connect())
        assert view['step'] == 4
        assert view['tree']['lanes'] == NEWS['lanes']
        assert view['stamp'] == '123456789012345678'
        assert view['bytes'] > 0

    run(body)


def test_what_did_not_change_is_not_sent_again() -> None:
    async def body(seat: Seat) -> None:
        seat.app.take_view({'step': 0})
        seat.app.take_tree(NEWS)
        seat.app.take_frame(frame(9), 1)
        await seat.enter()
        socket = await seat.connect()
        await views(socket)
        seat.app.take_view({'step': 1})
        (view,) = await views(socket)
        assert view['step'] == 1
        assert 'tree' not in view and view['stamp'] is None and view['bytes'] == 0

    run(body)


def test_a_slow_page_gets_the_newest_view_and_no_backlog() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        socket = await seat.connect()
        for step in range(100):
            seat.app.take_view({'step': step})
            seat.app.take_frame(frame(step), step)
            await asyncio.sleep(0.005)
        unseen = await views(socket, seen=False)
        assert len(unseen) <= WINDOW
        await socket.send_json({'type': 'seen', 'seq': unseen[-1]['seq']})
        (newest,) = await views(socket)
        assert (newest['step'], newest['stamp']) == (99, '99')

    run(body)


def test_a_slow_page_does_not_slow_another() -> None:
    async def body(seat: Seat) -> None:
        await seat.enter()
        await seat.connect()
        quick = await seat.connect()
        for step in range(5):
            seat.app.take_view({'step': step})
            view = (await views(quick, wait=0.2))[-1]
            assert view['step'] == step

    run(body)


def test_a_page_that_goes_takes_no_picture_from_the_others() -> None:
    async def scenario() -> None:
        scene = Scene('key')
        scene.take_frame(np.zeros((480, 640, 3), np.uint8), 1)
        first, second = (asyncio.create_task(scene.image()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second
        assert await scene.image() == await second

    asyncio.run(scenario())
