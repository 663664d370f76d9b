# SPDX-License-Identifier: Apache-2.0
"""A policy in a thread of its own, so that a slow network delays nothing but its own chunks.

torch lets go of the interpreter while it computes, so the thread that asks goes on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import hashlib
import struct
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_core.newest_worker import NewestWorker
from hiwm_core.policy import Policy
from hiwm_policy.chunk import Request, Sample

LATENCIES = 600


def chunk_key(seed: int, epoch: int, step: int, *, other: bool = False) -> int:
    """64 bits of randomness for the chunk that is planned at a step, or for `other`, a second."""
    data = struct.pack('<QQQ', seed, epoch, step) + (b'other' if other else b'')
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), 'little')


class Inference:
    """A policy in a thread of its own, with a slot for the latest request.

    Args:
        policy: Gets one call at a time.
        seed: Of the chunks' keys.
        done: Called in the thread after every result; must not block.
        unit: float64 (A,), the task's `max_step`: a second chunk is drawn each time, to tell how
            far the two lie apart. None: there is no second.

    Attributes:
        latencies: Seconds of the newest chunks.
    """

    def __init__(
        self,
        policy: Policy,
        seed: int,
        done: Callable[[], None],
        unit: NDArray[np.float64] | None = None,
    ) -> None:
        self._policy, self._seed, self._done, self._unit = policy, seed, done, unit
        self._results: deque[tuple[Request, Sample | str]] = deque()
        self.latencies: deque[float] = deque(maxlen=LATENCIES)
        self._worker = NewestWorker('inference', self._answer)

    def ask(self, request: Request) -> None:
        """Compute this next, and nothing that was asked before and has not begun."""
        self._worker.ask(request)

    def results(self) -> list[tuple[Request, Sample | str]]:
        """What has been computed since: a sample, or the sentence of a fault."""
        taken = []
        while self._results:
            taken.append(self._results.popleft())
        return taken

    def stop(self) -> None:
        """End the thread; a chunk in progress gets a few seconds."""
        self._worker.stop()

    def _answer(self, request: Request) -> None:
        began = time.monotonic()
        result: Sample | str
        try:
            result = self._draw(request)
        except HiwmError as error:
            result = error.message
        except Exception as error:
            result = f'the policy failed: {error!r}'
        self.latencies.append(time.monotonic() - began)
        self._results.append((request, result))
        self._worker.tell(self._done)

    def _draw(self, request: Request) -> Sample:
        """The chunk of a request; it is the same whether or not there is a second one."""
        at = (self._seed, request.epoch, request.step)
        chunk = self._policy.chunk(request.history, chunk_key(*at))
        if not np.isfinite(chunk).all():
            raise HiwmError('the policy gave an action that is not finite')
        if self._unit is None:
            return Sample(chunk)
        other = self._policy.chunk(request.history, chunk_key(*at, other=True))
        executed = self._policy.chunk_steps
        apart = np.abs(chunk[:executed] - other[:executed]) / self._unit
        return Sample(chunk, float(apart.max()))
