# SPDX-License-Identifier: Apache-2.0
"""An event loop in a thread of its own, for tests that are no coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
import threading
from typing import Any, TypeVar

Result = TypeVar('Result')


class LoopThread:
    """Runs coroutines and calls from outside.

    Args:
        patience: s, for each coroutine.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> None:
        """From here on it runs."""
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The coroutine's result. Raises what it raises, and TimeoutError after `patience`."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(self._patience)

    def call(self, act: Callable[[], object]) -> None:
        """Call this in the loop, soon."""
        self._loop.call_soon_threadsafe(act)

    def end(self) -> None:
        """No coroutine may run any more."""
        self.call(self._loop.stop)
        self._thread.join(self._patience)
        self._loop.close()
