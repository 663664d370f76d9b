# SPDX-License-Identifier: Apache-2.0
"""The console's web application: one page, one WebSocket, and who may come in.

The address that the node prints carries a token. A browser that opens it gets a cookie in return,
which only this server can read and no script can; everything else, the WebSocket included, asks for
that cookie. The token stays good as long as the server runs, so that a second browser on the
operator's desk can open the same address; which page is in control is the session's business. A
WebSocket from another origin is refused.

Everything here runs on one event loop. A page gets the newest view when it has shown the one
before, so a slow page sees fewer views and never old ones, and frames that nobody can take are not
even encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
import contextlib
from dataclasses import dataclass, field
import hashlib
import hmac
from importlib import resources
import secrets
from typing import Any
from urllib.parse import urlsplit

from aiohttp import WSCloseCode, WSMsgType, web
import numpy as np
from numpy.typing import NDArray

from hiwm_intervention.console_protocol import (
    LONGEST_MESSAGE,
    Ask,
    Hold,
    Seen,
    encode_frame,
    pack_view,
    read_message,
)

# Views on their way to a page: two hide the round trip, more would be a backlog.
WINDOW = 2
SHORTEST_INTERVAL = 1 / 60  # s between views
HEARTBEAT = 5.0  # s
HEADERS = {
    'Cache-Control': 'no-store',
    'Content-Security-Policy': (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}
TYPES = {
    '.html': 'text/html',
    '.css': 'text/css',
    '.js': 'text/javascript',
    '.svg': 'image/svg+xml',
}
REFUSAL = 'Open the console with the whole address that it printed when it started.\n'


@dataclass(eq=False)
class _Page:
    """One connection and what it has been sent."""

    name: str
    socket: web.WebSocketResponse
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    replies: list[Mapping[str, Any]] = field(default_factory=list)
    sent: int = 0
    seen: int = 0
    view: int = 0
    tree: int = 0
    frame: int = 0


class ConsoleApp:
    """The pages and what they are to see.

    Args:
        token: What the printed address carries.
        on_open: A page came, by name; returns the first message to it.
        on_message: A page said something well-formed.
        on_close: A page is gone.
    """

    def __init__(
        self,
        token: str,
        *,
        on_open: Callable[[str], Mapping[str, Any]],
        on_message: Callable[[str, Hold | Ask], None],
        on_close: Callable[[str], None],
    ) -> None:
        self.ignored_messages = 0
        self._token = token.encode()
        # The cookie follows from the token: with a token of one's own, pages outlive a restart of
        # the server.
        self._pass = hmac.new(self._token, b'console cookie', hashlib.sha256).hexdigest()
        self._on_open, self._on_message, self._on_close = on_open, on_message, on_close
        folder = resources.files('hiwm_intervention') / 'web'
        self._files = {
            entry.name: entry.read_bytes() for entry in folder.iterdir() if _type(entry.name)
        }
        self._pages: dict[str, _Page] = {}
        self._view: tuple[int, Mapping[str, Any]] = (0, {})
        self._tree: tuple[int, Mapping[str, Any]] = (0, {})
        self._frame: tuple[int, NDArray[np.uint8] | None] = (0, None)
        self._stamp = 0
        self._encoding: tuple[int, asyncio.Future[bytes]] | None = None

    def application(self) -> web.Application:
        """The application, to be run on this object's loop."""
        app = web.Application(middlewares=[self._admit])
        app.router.add_get('/', self._get_page)
        app.router.add_get('/ws', self._get_socket)
        app.router.add_get('/{name}', self._get_file)
        app.on_shutdown.append(self._say_goodbye)
        return app

    # -- what is to be seen ----------------------------------------------------------------------

    def take_view(self, view: Mapping[str, Any]) -> None:
        """Everything but the frame and the tree."""
        self._view = (self._view[0] + 1, view)
        self._wake_all()

    def take_tree(self, tree: Mapping[str, Any]) -> None:
        """Branches and checkpoints."""
        self._tree = (self._tree[0] + 1, tree)
        self._wake_all()

    def take_frame(self, frame: NDArray[np.uint8], stamp: int) -> None:
        """The newest frame, RGB (H, W, 3), not written to any more; its stamp in nanoseconds."""
        self._frame = (self._frame[0] + 1, frame)
        self._stamp = stamp
        self._wake_all()

    def take_reply(self, page: str, reply: Mapping[str, Any]) -> None:
        """A message for one page, if it is still there."""
        if page in self._pages:
            self._pages[page].replies.append(reply)
            self._pages[page].wake.set()

    def _wake_all(self) -> None:
        for page in self._pages.values():
            page.wake.set()

    # -- who may come in -------------------------------------------------------------------------

    @web.middleware
    async def _admit(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if not (self._has_cookie(request) or (request.path == '/' and self._has_token(request))):
            return web.Response(status=403, text=REFUSAL, headers=HEADERS)
        return await handler(request)

    def _cookie_name(self, request: web.Request) -> str:
        # Browsers share cookies between the ports of one host, so the port is part of the name.
        return f'hiwm_console_{request.url.port}'

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(self._cookie_name(request), '')
        return hmac.compare_digest(given.encode(), self._pass.encode())

    def _has_token(self, request: web.Request) -> bool:
        return hmac.compare_digest(request.query.get('token', '').encode(), self._token)

    async def _get_page(self, request: web.Request) -> web.Response:
        response = self._respond('index.html')
        if not self._has_cookie(request):
            response.set_cookie(
                self._cookie_name(request), self._pass, httponly=True, samesite='Strict', path='/'
            )
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

    # -- one connection --------------------------------------------------------------------------

    async def _get_socket(self, request: web.Request) -> web.StreamResponse:
        if urlsplit(request.headers.get('Origin', '')).netloc != request.host:
            return web.Response(status=403, text=REFUSAL, headers=HEADERS)
        socket = web.WebSocketResponse(
            max_msg_size=LONGEST_MESSAGE, heartbeat=HEARTBEAT, compress=False
        )
        await socket.prepare(request)
        page = _Page(f'page-{secrets.token_hex(3)}', socket)
        self._pages[page.name] = page
        page.replies.append(self._on_open(page.name))
        page.wake.set()
        sender = asyncio.create_task(self._send(page))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._read(page, message.data)
                else:
                    self.ignored_messages += 1
        finally:
            del self._pages[page.name]
            sender.cancel()
            self._on_close(page.name)
        return socket

    def _read(self, page: _Page, text: str) -> None:
        message = read_message(text)
        if message is None:
            self.ignored_messages += 1
        elif isinstance(message, Seen):
            page.seen = max(page.seen, min(message.seq, page.sent))
            page.wake.set()
        else:
            self._on_message(page.name, message)

    async def _send(self, page: _Page) -> None:
        """Replies at once, and the newest view whenever the page has room for one."""
        with contextlib.suppress(ConnectionError):
            while True:
                await page.wake.wait()
                page.wake.clear()
                while page.replies:
                    await page.socket.send_json(page.replies.pop(0))
                if page.sent - page.seen < WINDOW and self._is_news(page):
                    await self._send_view(page)
                    await asyncio.sleep(SHORTEST_INTERVAL)
                    page.wake.set()

    def _is_news(self, page: _Page) -> bool:
        return (page.view, page.tree, page.frame) != (self._view[0], self._tree[0], self._frame[0])

    async def _send_view(self, page: _Page) -> None:
        frame_number, stamp = self._frame[0], self._stamp
        image = b''
        if page.frame != frame_number:
            image = await self._encode()
        view = dict(self._view[1], seq=page.sent + 1, stamp=str(stamp) if image else None)
        if page.tree != self._tree[0]:
            view['tree'] = self._tree[1]
        page.view, page.tree, page.frame = self._view[0], self._tree[0], frame_number
        page.sent += 1
        await page.socket.send_bytes(pack_view(view, image))

    async def _encode(self) -> bytes:
        """The newest frame, encoded once for all pages and off the loop."""
        number, frame = self._frame
        assert frame is not None
        if self._encoding is None or self._encoding[0] != number:
            loop = asyncio.get_running_loop()
            self._encoding = (number, loop.run_in_executor(None, encode_frame, frame))
        return await self._encoding[1]

    async def _say_goodbye(self, app: web.Application) -> None:
        for page in list(self._pages.values()):
            await page.socket.close(code=WSCloseCode.GOING_AWAY, message=b'the console stops')


def _type(name: str) -> str:
    return TYPES.get(f'.{name.rsplit(".", maxsplit=1)[-1]}', '')
