# SPDX-License-Identifier: Apache-2.0
"""Which action answers which step: a policy's chunks laid over a rig's time.

A chunk is made from the observation of one step and answers that step and the next ones, as many as
the policy executes of it. It holds only while what was executed was the policy's own choice: after a
hold, a person's correction or a discontinuity the scene is another than the chunk was made for, and
the policy looks again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiwm_core.observation import Observation


@dataclass(frozen=True, eq=False)
class Request:
    """What the policy is asked: the arguments of `Policy.chunk` without the key."""

    epoch: int
    step: int
    history: Sequence[Observation]


class ChunkSchedule:
    """The answers of one policy.

    Args:
        context: How many of the newest observations the policy looks at.
        chunk_steps: How many actions of a chunk are executed.
    """

    def __init__(self, context: int, chunk_steps: int) -> None:
        self._chunk_steps = chunk_steps
        self._history: deque[Observation] = deque(maxlen=context)
        self._epoch = -1
        self._node = 0
        self._step = -1
        self._asks = False
        self._chunk: NDArray[np.float64] | None = None
        self._chunk_step = 0
        self._requested: tuple[int, int] | None = None

    def observe(
        self, epoch: int, step: int, node: int, observation: Observation, *, context: bool = False
    ) -> None:
        """A frame has come. A node that is shown again, as by a camera over a still scene, is one.

        Args:
            epoch: Of the rig; a new one clears the history and drops the chunk.
            step: Of the rig.
            node: In the rollout tree.
            observation: What was seen.
            context: It belongs to the past that is shown again, and asks for no answer.
        """
        if epoch != self._epoch:
            self._epoch, self._node = epoch, 0
            self._history.clear()
            self._chunk = None
        if node == self._node:
            return
        self._node, self._step, self._asks = node, step, not context
        self._history.append(observation)

    def executed(self, epoch: int, *, by_policy: bool) -> None:
        """An action was executed; one that the policy did not choose ends its chunk."""
        if epoch == self._epoch and not by_policy:
            self._chunk = None

    def answer(self) -> tuple[int, int, NDArray[np.float64]] | None:
        """Epoch, step and action (A,) for the newest step; None if no chunk reaches it."""
        if not self._asks or self._chunk is None:
            return None
        row = self._step - self._chunk_step
        if not 0 <= row < min(self._chunk_steps, len(self._chunk)):
            return None
        return self._epoch, self._step, self._chunk[row]

    def request(self) -> Request | None:
        """What to ask the policy now, once for each step; None if there is nothing to ask."""
        moment = (self._epoch, self._step)
        if not self._asks or self._requested == moment or self.answer() is not None:
            return None
        self._requested = moment
        return Request(self._epoch, self._step, tuple(self._history))

    def complete(self, request: Request, chunk: NDArray[np.float64]) -> None:
        """Take a chunk (n, A) in; one of an older epoch, or older than another, is dropped."""
        if request.epoch != self._epoch:
            return
        if self._chunk is not None and request.step < self._chunk_step:
            return
        self._chunk, self._chunk_step = chunk, request.step
