# SPDX-License-Identifier: Apache-2.0
"""One page's connection: what it has been sent, and how it says what it has seen.

A page gets the newest view when it has shown the one before, so a slow page sees fewer views and
never old ones, and frames that nobody can take are not even encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
import contextlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
import numpy as np
from numpy.typing import NDArray

from hiwm_intervention.console_access import Allowance
from hiwm_intervention.console_feed import Cursor, TreeFeed
from hiwm_intervention.console_iws import pack_iws
from hiwm_intervention.console_protocol import encode_frame, pack_view

# Views on their way to a page: two hide the round trip, more would be a backlog.
WINDOW = 2
SHORTEST_INTERVAL = 1 / 60  # s between views
MOST_ANSWERED = 64


class Scene:
    """What there is to be seen: the newest view, frame and tree, the same for all pages."""

    def __init__(self, key: str) -> None:
        self.feed = TreeFeed(key)
        self.number = 0  # of the view
        self.view: Mapping[str, Any] = {}
        self.frame_number = 0
        self.stamp = 0
        self._frame: NDArray[np.uint8] | None = None
        self._encoding: tuple[int, asyncio.Future[bytes]] | None = None

    def take_view(self, view: Mapping[str, Any]) -> None:
        """Everything but the frame and the tree."""
        self.number += 1
        self.view = view

    def take_frame(self, frame: NDArray[np.uint8], stamp: int) -> None:
        """The newest frame, RGB (H, W, 3), not written to any more; its stamp in nanoseconds."""
        self.frame_number += 1
        self.stamp = stamp
        self._frame = frame

    async def image(self) -> bytes:
        """The newest frame, encoded once for all pages and off the loop."""
        number, frame = self.frame_number, self._frame
        assert frame is not None
        if self._encoding is None or self._encoding[0] != number:
            loop = asyncio.get_running_loop()
            self._encoding = (number, loop.run_in_executor(None, encode_frame, frame))
        # Several pages wait for it: one that is closed meanwhile must not cancel it for all.
        return await asyncio.shield(self._encoding[1])


@dataclass(eq=False)
class Connection:
    """A WebSocket, whose sender is woken when there is something to say."""

    name: str
    socket: web.WebSocketResponse
    scene: Scene
    allowance: Allowance = field(default_factory=Allowance)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    replies: list[Mapping[str, Any]] = field(default_factory=list)
    answered: list[tuple[str, list[float]]] = field(default_factory=list)
    frame: int = 0

    def answer(self, stamp: int, times: list[float]) -> None:
        """The frame of that stamp is the first to answer the page's inputs of these times."""
        self.answered = [*self.answered[-MOST_ANSWERED:], (str(stamp), times)]
        self.wake.set()

    async def send(self) -> None:
        """Say what there is to say, until the connection ends."""
        with contextlib.suppress(ConnectionError):
            while True:
                await self.wake.wait()
                self.wake.clear()
                while self.replies:
                    await self.socket.send_json(self.replies.pop(0))
                if await self.send_news():
                    await asyncio.sleep(SHORTEST_INTERVAL)
                    self.wake.set()

    async def send_news(self) -> bool:
        """Send the newest if there is any and the page has room for it."""
        raise NotImplementedError


@dataclass(eq=False)
class Page(Connection):
    """A page of the console."""

    sent: int = 0
    seen: int = 0
    view: int = 0
    cursor: Cursor = field(default_factory=Cursor)

    def has_seen(self, seq: int) -> None:
        """The page shows the view of that number."""
        self.seen = max(self.seen, min(seq, self.sent))
        self.wake.set()

    async def send_news(self) -> bool:
        """A view: words, and the frame and the tree as far as they are new to the page."""
        scene = self.scene
        tree_is_news = scene.feed.has_news(self.cursor)
        news = (self.view, self.frame) != (scene.number, scene.frame_number)
        if self.sent - self.seen >= WINDOW or not (news or tree_is_news or self.answered):
            return False
        number, frame, stamp = scene.number, scene.frame_number, scene.stamp
        words = scene.view
        image = await scene.image() if self.frame != frame else b''
        view = dict(words, seq=self.sent + 1, stamp=str(stamp) if image else None)
        if tree_is_news:
            view['tree'] = scene.feed.tell(self.cursor)
        if self.answered:
            view['answered'], self.answered = self.answered, []
        self.view, self.frame = number, frame
        self.sent += 1
        await self.socket.send_bytes(pack_view(view, image))
        return True


@dataclass(eq=False)
class ForeignPage(Connection):
    """A page that speaks the protocol of the Interactive World Simulator."""

    async def send_news(self) -> bool:
        """The newest frame, with the time of the oldest input that it is the first to answer."""
        scene = self.scene
        if self.frame == scene.frame_number:
            return False
        self.frame, stamp = scene.frame_number, scene.stamp
        image = await scene.image()
        times = [time for at, part in self.answered if int(at) <= stamp for time in part]
        self.answered = [entry for entry in self.answered if int(entry[0]) > stamp]
        await self.socket.send_bytes(pack_iws(min(times, default=0.0), image))
        return True
