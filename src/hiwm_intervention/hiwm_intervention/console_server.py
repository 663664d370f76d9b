# SPDX-License-Identifier: Apache-2.0
"""The console's web server on a thread of its own, so that the node never waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
import contextlib
import errno
import secrets
import socket
import threading
from typing import Any
from urllib.parse import quote

from aiohttp import web
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError
from hiwm_intervention.console_access import Access
from hiwm_intervention.console_app import FAREWELL, Callbacks, ConsoleApp

SHORTEST_TOKEN = 16
GOODBYE = 1.0  # s for requests that are under way at the end


class ConsoleServer:
    """Listens from its construction on, serves from `start` to `close`.

    The methods may be called from any thread; the callbacks are called on the server's own.

    Args:
        address: To listen on.
        port: To listen on; 0 takes any free one.
        token: Of the printed address; empty: one is made up.
        callbacks: Who is told of pages.
        origins: Of pages from elsewhere that may drive with the token.

    Raises:
        ConfigurationError: The address or the port cannot be had, or the token is too short.
    """

    def __init__(
        self,
        address: str,
        port: int,
        token: str,
        callbacks: Callbacks,
        *,
        origins: Sequence[str] = (),
    ) -> None:
        if token and len(token) < SHORTEST_TOKEN:
            raise ConfigurationError(
                f'the token has {len(token)} characters; give one of at least {SHORTEST_TOKEN}, '
                'or none, and the console makes one up'
            )
        self._token = token or secrets.token_urlsafe(24)
        self._socket = _listen(address, port)
        self._port = int(self._socket.getsockname()[1])
        everywhere = address in {'0.0.0.0', '::'}
        host = socket.gethostname() if everywhere else address
        self._host = f'[{host}]' if ':' in host else host
        self._app = ConsoleApp(Access(self._token, origins), callbacks)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name='console server', daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def url(self) -> str:
        """The address to open, with the token: printed once and logged never."""
        return f'http://{self._host}:{self.port}/?token={quote(self._token, safe="")}'

    @property
    def ignored_messages(self) -> int:
        """Messages of pages that were not well-formed."""
        return self._app.ignored_messages

    def start(self) -> None:
        """Begin to serve; returns when pages can connect."""
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Tell all pages and stop; the port is free afterwards."""
        self._call(self._stopping.set)
        if self._thread.is_alive():
            self._thread.join(timeout=GOODBYE + 2 * FAREWELL)
        self._socket.close()

    def show(self, view: Mapping[str, Any]) -> None:
        """What all pages are told, but for the frame and the tree."""
        self._call(self._app.take_view, view)

    def show_tree(self, news: Mapping[str, Any]) -> None:
        """What `TreeView.take_news` returned."""
        self._call(self._app.take_tree, news)

    def show_frame(self, frame: NDArray[np.uint8], stamp: int) -> None:
        """The newest frame, RGB (H, W, 3), not written to any more; its stamp in nanoseconds."""
        self._call(self._app.take_frame, frame, stamp)

    def show_answered(self, page: str, stamp: int, times: list[float]) -> None:
        """The frame of that stamp is the first to answer the page's inputs of these times."""
        self._call(self._app.take_answered, page, stamp, times)

    def give_frames(self, width: int, frames: Mapping[int, bytes] | None) -> None:
        """PNG pictures of nodes, for `Callbacks.on_frames`; None: no answer came."""
        self._call(self._app.take_frames, width, frames)

    def reply(self, page: str, number: int, name: str, ok: bool, text: str) -> None:
        """Answer an ask of a page, if it is still there."""
        reply = {'type': 'reply', 'id': number, 'name': name, 'ok': ok, 'text': text}
        self._call(self._app.take_reply, page, reply)

    def reject(self, page: str, text: str) -> None:
        """Tell a page from elsewhere that something cannot be done."""
        self._call(self._app.take_reply, page, {'type': 'error', 'message': text})

    def _call(self, function: Callable[..., object], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            self._loop.call_soon_threadsafe(function, *values)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _serve(self) -> None:
        # Requests are not logged: the first one of every page carries the token.
        runner = web.AppRunner(
            self._app.application(),
            access_log=None,
            handle_signals=False,
            shutdown_timeout=GOODBYE,
        )
        await runner.setup()
        await web.SockSite(runner, self._socket).start()
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()


def _listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigurationError with what to do."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise ConfigurationError(
            f"this machine knows no address '{address}'; the usual one is 127.0.0.1"
        ) from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(_refusal(error, address, port)) from None
    return listener


def _refusal(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f'port {port} of {address} is in use, perhaps by another console; '
            "close that one, or choose another port (0 takes any free one) with 'port'"
        )
    if error.errno == errno.EACCES:
        return f'port {port} is reserved for the system; choose one from 1024 on, or 0 for any'
    if error.errno == errno.EADDRNOTAVAIL:
        return f"'{address}' is not an address of this machine; the usual one is 127.0.0.1"
    return f'the console cannot listen on port {port} of {address}: {error.strerror}'
