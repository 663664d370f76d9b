# SPDX-License-Identifier: Apache-2.0
"""Frames of old nodes for the timeline: asked of the rig in batches, kept within bounds.

A page that is scrubbed asks for dozens of small pictures at once. They are gathered for a moment,
asked for together, and what came is kept as it came (PNG) up to a number of bytes. One batch is on
its way at a time, so that a fast thumb does not keep a rig from its steps. Everything here runs on
the server's event loop.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

MOST_NODES = 64  # in one request; see GetFrames.srv
# A thousand thumbnails or more; the pages' browsers keep what they have seen as well.
CACHED_BYTES = 3_000_000
PICTURE_BYTES = 400  # what a picture takes beside its data: its place, its key, the heap's share
GATHER = 0.01  # s
PATIENCE = 15.0  # s for a frame

Key = tuple[int, int]  # node, width


class FrameStore:
    """PNG pictures of nodes.

    Args:
        fetch: Asks for the frames of nodes at a width; `give` is called with what came.
    """

    def __init__(self, fetch: Callable[[Sequence[int], int], None]) -> None:
        self._fetch = fetch
        self._cache: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0
        self._wanted: OrderedDict[Key, asyncio.Future[bytes | None]] = OrderedDict()
        self._asked: dict[Key, asyncio.Future[bytes | None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def forget(self) -> None:
        """Another tree has begun: nothing kept is of it."""
        self._cache.clear()
        self._bytes = 0
        for future in (*self._wanted.values(), *self._asked.values()):
            if not future.done():
                future.set_result(None)
        self._wanted.clear()

    async def get(self, node: int, width: int) -> bytes | None:
        """The picture of a node as PNG; empty: there is none; None: nobody could say in time."""
        key = (node, width)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        future = self._wanted.get(key) or self._asked.get(key)
        # One that is done is of the tree before, whose batch is still on its way.
        if future is None or future.done():
            future = asyncio.get_running_loop().create_future()
            self._wanted[key] = future
            self._ask_soon()
        try:
            return await asyncio.wait_for(asyncio.shield(future), PATIENCE)
        except TimeoutError:
            return None

    def give(self, width: int, frames: Mapping[int, bytes] | None) -> None:
        """What came of the batch on its way.

        Args:
            width: Of the batch.
            frames: PNG pictures; there is none of nodes that are missing. None: no answer came.
        """
        answer = frames or {}
        for key, future in self._asked.items():
            # Another tree has begun meanwhile, in which the node is another one.
            if future.done():
                continue
            data = answer.get(key[0], b'') if key[1] == width else b''
            if data:
                self._keep(key, data)
            future.set_result(None if frames is None else data)
        self._asked.clear()
        if self._wanted:
            self._ask_soon()

    def _keep(self, key: Key, data: bytes) -> None:
        self._cache[key] = data
        self._bytes += len(data) + PICTURE_BYTES
        while self._bytes > CACHED_BYTES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._bytes -= len(oldest) + PICTURE_BYTES

    def _ask_soon(self) -> None:
        if self._timer is None and not self._asked:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._ask)

    def _ask(self) -> None:
        self._timer = None
        if not self._wanted:
            return
        # What was wanted last is what is in sight now.
        width = next(reversed(self._wanted))[1]
        keys = [key for key in reversed(self._wanted) if key[1] == width][:MOST_NODES]
        self._asked = {key: self._wanted.pop(key) for key in keys}
        self._fetch([node for node, _ in keys], width)
