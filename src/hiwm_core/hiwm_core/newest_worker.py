# SPDX-License-Identifier: Apache-2.0
"""A thread that works at the newest request and drops those that came before it and wait."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Generic, TypeVar

Asked = TypeVar('Asked')

LONGEST_END = 5.0  # s, for what is in progress when it is stopped


class NewestWorker(Generic[Asked]):
    """One thread and a slot for the newest request; all methods are for any thread.

    Args:
        name: Of the thread.
        work: Called in the thread, with one request at a time; must not raise.
    """

    def __init__(self, name: str, work: Callable[[Asked], None]) -> None:
        self._work = work
        self._changed = threading.Condition()
        self._asked: list[Asked] = []  # none or one
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def ask(self, request: Asked) -> None:
        """Work at this next, and at nothing that was asked before and has not begun."""
        with self._changed:
            self._asked[:] = [request]
            self._changed.notify()

    def tell(self, done: Callable[[], None]) -> None:
        """Call this unless it was stopped; once `stop` has returned nothing is called any more."""
        with self._changed:
            if not self._stopped:
                done()

    def stop(self) -> None:
        """End the thread; what is in progress gets `LONGEST_END`."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=LONGEST_END)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._asked)
                if self._stopped:
                    return
                request = self._asked.pop()
            self._work(request)
