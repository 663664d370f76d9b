# SPDX-License-Identifier: Apache-2.0
"""A page of the console without a browser: what it is told, what it asks, what it holds."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
import concurrent.futures
import contextlib
import json
import threading
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from hiwm_intervention.console_protocol import unpack_view
from test.loop_thread import LoopThread
from test.probe import PATIENCE

SAMPLE_PERIOD = 0.05  # s, as the page's
SENTENCES_KEPT = 200


class PageClient:
    """One page, with a thread of its own.

    Args:
        url: What the console printed, with its token; perhaps with a proxy's port.

    Attributes:
        name: The page's, as the console calls it.
        view: Everything it was told last, but for the frame and the tree.
        views: How many it was told.
        nodes: How many rows of the tree it was told.
        tree_key: Names the tree in the addresses of frames.
        sentences: What it was told in words, newest last, without repetitions.
        closed: Whether the connection has ended.
    """

    def __init__(self, url: str) -> None:
        self.name = ''
        self.view: dict[str, Any] = {}
        self.views = self.nodes = 0
        self.tree_key = ''
        self.sentences: deque[str] = deque(maxlen=SENTENCES_KEPT)
        self.closed = False
        self._url = url
        self._number = 0
        self._replies: dict[int, concurrent.futures.Future[dict[str, Any]]] = {}
        self._keys: dict[str, float] | None = None
        self._change = threading.Condition()
        self._loop = LoopThread(PATIENCE)

    def __enter__(self) -> PageClient:
        self._loop.start()
        self._loop.run(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.run(self._close())
        self._loop.end()

    # -- for a person ----------------------------------------------------------------------------

    @property
    def phase(self) -> str:
        """Who drives, as the multiplexer calls it; empty while it is not there."""
        return str((self.view.get('mux') or {}).get('phase', ''))

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until `holds()` is true and return it; fail with `what` if it never is."""
        deadline = time.monotonic() + PATIENCE
        with self._change:
            while not (value := holds()):
                for task in self._tasks:
                    if task.done() and not task.cancelled():
                        task.result()
                left = deadline - time.monotonic()
                assert left > 0, f'waited in vain until {what}; the page was told: {self.told()}'
                self._change.wait(min(left, 0.2))
            return value

    def until_told(self, words: str) -> str:
        """Wait until a sentence with these words has been told, and return it."""
        return str(
            self.until(
                lambda: next((each for each in self.sentences if words in each), ''),
                f'the page is told: {words}',
            )
        )

    def told(self) -> str:
        """The newest view and the last sentences, for a failure."""
        short = {name: self.view.get(name) for name in ('holder', 'mux', 'recorder', 'rig')}
        return f'{short}; {list(self.sentences)[-8:]}'

    def ask(self, name: str, **fields: Any) -> dict[str, Any]:
        """An ask's reply: `ok` and `text`."""
        self._number += 1
        reply: concurrent.futures.Future[dict[str, Any]] = concurrent.futures.Future()
        self._replies[self._number] = reply
        self._loop.run(self._send({'type': 'ask', 'id': self._number, 'name': name, **fields}))
        try:
            return reply.result(PATIENCE)
        except concurrent.futures.TimeoutError:
            raise AssertionError(
                f"'{name}' was not answered in {PATIENCE:g} s; the page was told: {self.told()}"
            ) from None

    def must(self, name: str, **fields: Any) -> None:
        """An ask that has to be granted."""
        reply = self.ask(name, **fields)
        assert reply['ok'], f'{name}: {reply["text"]}'

    def hold(self, **keys: float) -> None:
        """From now on these keys are held, and said to be so 20 times a second."""
        self._keys = keys

    def let_go(self) -> None:
        """From now on nothing is said any more."""
        self._keys = None

    def take_over(self, **keys: float) -> None:
        """Ask for the wheel with these keys held."""
        self.hold(**keys)
        self.must('take_over')

    def get(self, path: str) -> bytes:
        """What the console answers to a request of the page."""
        return self._loop.run(self._get(path))

    # -- within the loop -------------------------------------------------------------------------

    async def _open(self) -> None:
        # A cookie of an address without a name is not kept unless one asks for it.
        self._session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        async with self._session.get(self._url) as response:
            response.raise_for_status()
        place = urlsplit(self._url)
        self._origin = f'{place.scheme}://{place.netloc}'
        self._socket = await self._session.ws_connect(
            f'{self._origin}/ws', headers={'Origin': self._origin}, max_msg_size=2**26
        )
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._sample())]

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._socket.close(), 1.0)
        await self._session.close()

    async def _get(self, path: str) -> bytes:
        async with self._session.get(self._origin + path) as response:
            response.raise_for_status()
            return await response.read()

    async def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.send_str(json.dumps(message))

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_PERIOD)
            if self._keys is not None and not self._socket.closed:
                await self._send({'type': 'hold', 'at': time.monotonic() * 1e3, 'keys': self._keys})

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                self._take(json.loads(message.data))
            elif message.type is aiohttp.WSMsgType.BINARY:
                view, _ = unpack_view(message.data)
                self._see(view)
                await self._send({'type': 'seen', 'seq': view['seq']})
        with self._change:
            self.closed = True
            self._change.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        if message['type'] == 'hello':
            self.name = message['page']
        elif message['type'] == 'reply':
            self._replies.pop(message['id']).set_result(message)

    def _see(self, view: dict[str, Any]) -> None:
        with self._change:
            tree = view.pop('tree', {'key': self.tree_key, 'nodes': ()})
            self.tree_key = tree['key']
            self.nodes += len(tree['nodes'])
            self.view = view
            self.views += 1
            for sentence in _sentences(view):
                if sentence not in self.sentences:
                    self.sentences.append(sentence)
            self._change.notify_all()


def _sentences(view: dict[str, Any]) -> list[str]:
    """What a view says in words."""
    # The first view may come before the session has said anything.
    rig, mux, recorder = (view.get(name) or {} for name in ('rig', 'mux', 'recorder'))
    silent = 'the rig is silent' if rig.get('silent_seconds') else ''
    words = [
        view.get('incident', ''),
        mux.get('reason', ''),
        recorder.get('message', ''),
        rig.get('message', ''),
        silent,
    ]
    return [sentence for sentence in words if sentence]
