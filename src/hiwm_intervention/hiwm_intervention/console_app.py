# SPDX-License-Identifier: Apache-2.0
"""The console's web application: the page's files, its WebSocket, frames of the past, who comes in.

    GET /                     the page, and a cookie for whoever brings the token
    GET /NAME                 its files
    GET /ws                   the WebSocket of `console_protocol`
    GET /ws/iws               the WebSocket of `console_iws`
    GET /frame/KEY/NODE       a node's picture as PNG, `?width=48` to reduce it; KEY is the tree's;
                              404: there is none, 503: the rig gives none now
    GET /sessions             the table of all sessions as JSON

Everything here runs on one event loop. Requests are never logged: the first one of every page
carries the token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
import secrets
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web
import numpy as np
from numpy.typing import NDArray

from hiwm_intervention.console_access import Access
from hiwm_intervention.console_frames import FrameStore
from hiwm_intervention.console_iws import Begin, read_iws
from hiwm_intervention.console_page import Connection, ForeignPage, Page, Scene
from hiwm_intervention.console_protocol import (
    LONGEST_MESSAGE,
    Ask,
    Hold,
    Seen,
    read_message,
    unread_ask,
)

HEARTBEAT = 5.0  # s
FAREWELL = 1.0  # s for pages to answer that they are closed; a launch kills what stays for 5
WIDEST = 4096  # px, of a frame that is asked for
RESAMPLE = 0.05  # s; how often what a page from elsewhere holds is said again for it
HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}
# A node never changes, and its address names this very tree.
FOREVER = {**HEADERS, 'Cache-Control': 'private, max-age=86400, immutable'}
TYPES = {
    '.html': 'text/html',
    '.css': 'text/css',
    '.js': 'text/javascript',
    '.svg': 'image/svg+xml',
}
REFUSAL = 'Open the console with the whole address that it printed when it started.\n'


@dataclass(frozen=True)
class Callbacks:
    """What the application tells whoever runs it, on the application's loop.

    Attributes:
        on_open: A page came, by name; returns the first message to it.
        on_message: A page said something well-formed.
        on_close: A page is gone.
        on_frames: Frames of nodes are wanted at a width; `take_frames` is called with them.
        on_sessions: The table of all sessions; called off the loop.
    """

    on_open: Callable[[str], Mapping[str, Any]]
    on_message: Callable[[str, Hold | Ask | Begin], None]
    on_close: Callable[[str], None]
    on_frames: Callable[[Sequence[int], int], None]
    on_sessions: Callable[[], Sequence[Mapping[str, Any]]]


class ConsoleApp:
    """The pages and what they are to see.

    Args:
        access: Who may come in.
        callbacks: Who is told.
    """

    def __init__(self, access: Access, callbacks: Callbacks) -> None:
        self.ignored_messages = 0
        self._access = access
        self._callbacks = callbacks
        folder = resources.files('hiwm_intervention') / 'web'
        self._files = {
            entry.name: entry.read_bytes() for entry in folder.iterdir() if _type(entry.name)
        }
        self._pages: dict[str, Connection] = {}
        self._scene = Scene(secrets.token_hex(4))
        self._frames = FrameStore(callbacks.on_frames)

    def application(self) -> web.Application:
        """The application, to be run on this object's loop."""
        app = web.Application(middlewares=[self._admit])
        app.router.add_get('/', self._get_page)
        app.router.add_get('/ws', self._get_socket)
        app.router.add_get('/ws/iws', self._get_foreign_socket)
        app.router.add_get('/sessions', self._get_sessions)
        app.router.add_get('/frame/{key}/{node:[0-9]{1,15}}', self._get_frame)
        app.router.add_get('/{name}', self._get_file)
        app.on_shutdown.append(self._say_goodbye)
        return app

    # -- what is to be seen ----------------------------------------------------------------------

    def take_view(self, view: Mapping[str, Any]) -> None:
        """Everything but the frame and the tree."""
        self._scene.take_view(view)
        self._wake_all()

    def take_tree(self, news: Mapping[str, Any]) -> None:
        """What `TreeView.take_news` returned."""
        key = self._scene.feed.key
        self._scene.feed.take(news)
        if self._scene.feed.key != key:
            self._frames.forget()
        self._wake_all()

    def take_frame(self, frame: NDArray[np.uint8], stamp: int) -> None:
        """The newest frame, RGB (H, W, 3), not written to any more; its stamp in nanoseconds."""
        self._scene.take_frame(frame, stamp)
        self._wake_all()

    def take_frames(self, width: int, frames: Mapping[int, bytes] | None) -> None:
        """PNG pictures of the nodes that were wanted, as far as there are any; None: no answer."""
        self._frames.give(width, frames)

    def take_answered(self, page: str, stamp: int, times: list[float]) -> None:
        """The frame of that stamp is the first to answer the page's inputs of these times."""
        if page in self._pages:
            self._pages[page].answer(stamp, times)

    def take_reply(self, page: str, reply: Mapping[str, Any]) -> None:
        """A message for one page, if it is still there."""
        if page in self._pages:
            self._pages[page].replies.append(reply)
            self._pages[page].wake.set()

    def _wake_all(self) -> None:
        for page in self._pages.values():
            page.wake.set()

    # -- requests --------------------------------------------------------------------------------

    @web.middleware
    async def _admit(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        access = self._access
        if not (
            access.has_cookie(request)
            or (request.path == '/' and access.has_token(request))
            or (request.path == '/ws/iws' and access.is_named_page(request))
        ):
            return _refuse()
        return await handler(request)

    async def _get_page(self, request: web.Request) -> web.Response:
        response = self._respond('index.html')
        if not self._access.has_cookie(request):
            self._access.give_cookie(request, response)
        return response

    async def _get_file(self, request: web.Request) -> web.Response:
        name = request.match_info['name']
        if name not in self._files:
            raise web.HTTPNotFound(text='There is no such file.\n', headers=HEADERS)
        return self._respond(name)

    def _respond(self, name: str) -> web.Response:
        return web.Response(
            body=self._files[name], content_type=_type(name), charset='utf-8', headers=HEADERS
        )

    async def _get_frame(self, request: web.Request) -> web.Response:
        width = request.query.get('width', '0')
        if not width.isascii() or not width.isdigit() or len(width) > 5 or int(width) > WIDEST:
            return web.Response(status=400, text='This is not a width.\n', headers=HEADERS)
        data: bytes | None = b''
        if request.match_info['key'] == self._scene.feed.key:
            data = await self._frames.get(int(request.match_info['node']), int(width))
        if data is None:
            return web.Response(status=503, text='The rig gives no frames now.\n', headers=HEADERS)
        if not data:
            return web.Response(status=404, text='There is no such frame.\n', headers=HEADERS)
        return web.Response(body=data, content_type='image/png', headers=FOREVER)

    async def _get_sessions(self, request: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        table = await loop.run_in_executor(None, self._callbacks.on_sessions)
        return web.json_response(list(table), headers=HEADERS)

    # -- connections -----------------------------------------------------------------------------

    async def _get_socket(self, request: web.Request) -> web.StreamResponse:
        if not self._access.is_own_page(request):
            return _refuse()
        socket = await self._accept(request)
        page = Page(f'page-{secrets.token_hex(3)}', socket, self._scene)
        page.replies.append(self._callbacks.on_open(page.name))
        await self._serve(page, lambda text: self._read(page, text))
        return socket

    def _read(self, page: Page, text: str) -> bool:
        message = read_message(text)
        if message is None:
            if unread := unread_ask(text):
                # Whoever asked waits for an answer.
                number, name, why = unread
                reply = {'type': 'reply', 'id': number, 'name': name, 'ok': False, 'text': why}
                self.take_reply(page.name, reply)
            return False
        if isinstance(message, Seen):
            page.has_seen(message.seq)
        else:
            self._callbacks.on_message(page.name, message)
        return True

    async def _get_foreign_socket(self, request: web.Request) -> web.StreamResponse:
        if not (self._access.is_own_page(request) or self._access.is_named_page(request)):
            return _refuse()
        socket = await self._accept(request)
        page = ForeignPage(f'iws-{secrets.token_hex(3)}', socket, self._scene)
        held = Hold()
        self._callbacks.on_open(page.name)

        def read(text: str) -> bool:
            nonlocal held
            message = read_iws(text)
            if message is None:
                return False
            if isinstance(message, Begin):
                self._callbacks.on_message(page.name, message)
            else:
                held = Hold(message.keys, at=message.at)
                self._callbacks.on_message(page.name, held)
            return True

        async def repeat() -> None:
            while True:
                await asyncio.sleep(RESAMPLE)
                # Without its time: the frame that answers the key itself is the one that counts.
                self._callbacks.on_message(page.name, Hold(held.keys))

        repeater = asyncio.create_task(repeat())
        try:
            await self._serve(page, read)
        finally:
            repeater.cancel()
        return socket

    async def _accept(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            max_msg_size=LONGEST_MESSAGE, heartbeat=HEARTBEAT, compress=False
        )
        await socket.prepare(request)
        return socket

    async def _serve(self, page: Connection, read: Callable[[str], bool]) -> None:
        """Until the connection ends: every text to `read`, and what there is to say to the page."""
        self._pages[page.name] = page
        page.wake.set()
        sender = asyncio.create_task(page.send())
        try:
            async for message in page.socket:
                if not page.allowance.spend():
                    self.ignored_messages += 1
                    await page.socket.close(
                        code=WSCloseCode.POLICY_VIOLATION, message=b'too many messages'
                    )
                    break
                if message.type is not WSMsgType.TEXT or not read(message.data):
                    self.ignored_messages += 1
        finally:
            del self._pages[page.name]
            sender.cancel()
            self._callbacks.on_close(page.name)

    async def _say_goodbye(self, app: web.Application) -> None:
        """To all at once: a page that has no network any more does not answer."""
        closing = [
            asyncio.create_task(
                page.socket.close(code=WSCloseCode.GOING_AWAY, message=b'the console stops')
            )
            for page in self._pages.values()
        ]
        if closing:
            await asyncio.wait(closing, timeout=FAREWELL)


def _refuse() -> web.Response:
    return web.Response(status=403, text=REFUSAL, headers=HEADERS)


def _type(name: str) -> str:
    return TYPES.get(f'.{name.rsplit(".", maxsplit=1)[-1]}', '')
