# SPDX-License-Identifier: Apache-2.0
"""A network between a page and the console that can be cut: nothing arrives, nothing is closed."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

from test.loop_thread import LoopThread

PATIENCE = 10.0  # s
BLOCK = 65536


class Network:
    """Forwards TCP connections to a port of this machine, until it is cut.

    Args:
        port: Where the connections go.

    Attributes:
        port: Where to connect instead.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = LoopThread(PATIENCE)

    def __enter__(self) -> Network:
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

    def cut(self) -> None:
        """From now on nothing is forwarded."""
        self._loop.call(self._whole.clear)

    def mend(self) -> None:
        """What waited goes on."""
        self._loop.call(self._whole.set)

    def drop(self) -> None:
        """Reset every connection, as a browser that is killed."""
        self._loop.run(self._drop())

    async def _open(self) -> None:
        self._whole = asyncio.Event()
        self._whole.set()
        self._server = await asyncio.start_server(self._forward, '127.0.0.1', 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _close(self) -> None:
        self._server.close()
        await self._drop()

    async def _drop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection('127.0.0.1', self._to)
        self._writers |= {writer, back}
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        for each in (writer, back):
            self._writers.discard(each)
            each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(BLOCK):
            await self._whole.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
