# SPDX-License-Identifier: Apache-2.0
"""A policy in a thread of its own, so that a slow network delays nothing but its own chunks.

There is a slot for the latest request and none for older ones. torch lets go of the interpreter
while it computes, so the thread that asks goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import hashlib
import struct
import threading
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_core.policy import Policy
from hiwm_policy.chunk import Request

LATENCIES = 600


def chunk_key(seed: int, epoch: int, step: int) -> int:
    """64 bits of randomness for the chunk that is planned at a step."""
    digest = hashlib.blake2b(struct.pack('<QQQ', seed, epoch, step), digest_size=8).digest()
    return int.from_bytes(digest, 'little')


class Inference:
    """A policy in a thread of its own, with a slot for the latest request.

    Args:
        policy: Gets one call at a time.
        seed: Of the chunks' keys.
        done: Called in the thread after every result; must not block.

    Attributes:
        latencies: Seconds of the newest chunks.
    """

    def __init__(self, policy: Policy, seed: int, done: Callable[[], None]) -> None:
        self._policy, self._seed, self._done = policy, seed, done
        self._changed = threading.Condition()
        self._request: Request | None = None
        self._results: deque[tuple[Request, NDArray[np.float64] | str]] = deque()
        self._stopped = False
        self.latencies: deque[float] = deque(maxlen=LATENCIES)
        self._thread = threading.Thread(target=self._work, name='inference', daemon=True)
        self._thread.start()

    def ask(self, request: Request) -> None:
        """Compute this next, and nothing that was asked before and has not begun."""
        with self._changed:
            self._request = request
            self._changed.notify()

    def results(self) -> list[tuple[Request, NDArray[np.float64] | str]]:
        """What has been computed since: a chunk (n, A), or the sentence of a fault."""
        taken = []
        while self._results:
            taken.append(self._results.popleft())
        return taken

    def stop(self) -> None:
        """End the thread; a chunk in progress gets a few seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(timeout=5.0)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._request is not None)
                if self._stopped:
                    return
                request, self._request = self._request, None
            assert request is not None
            began = time.monotonic()
            result: NDArray[np.float64] | str
            try:
                key = chunk_key(self._seed, request.epoch, request.step)
                result = self._policy.chunk(request.history, key)
                if not np.isfinite(result).all():
                    result = 'the policy gave an action that is not finite'
            except HiwmError as error:
                result = error.message
            except Exception as error:
                result = f'the policy failed: {error!r}'
            self.latencies.append(time.monotonic() - began)
            self._results.append((request, result))
            with self._changed:
                if not self._stopped:
                    self._done()
