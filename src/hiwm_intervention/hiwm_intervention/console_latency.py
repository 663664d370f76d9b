# SPDX-License-Identifier: Apache-2.0
"""Which of a page's inputs a frame is the first to answer.

Every input carries the page's time. The console's next answer to the rig takes all inputs since the
answer before; when the rig says that it executed the answer to that step, the frame of the same
stamp is the first that shows what the inputs did. The page subtracts: from a person's hand to the
changed picture, with everything between. An input whose answer was never executed waits for the
next one, as the person does.
"""

from __future__ import annotations

from collections import deque

MOST_INPUTS = 256


class InputLog:
    """The inputs of the page that drives, until a frame answers them."""

    def __init__(self) -> None:
        self._waiting: deque[float] = deque(maxlen=MOST_INPUTS)
        self._answered: deque[tuple[tuple[int, int], float]] = deque(maxlen=MOST_INPUTS)

    def clear(self) -> None:
        """Another takeover, or none: what was waited for does not come any more."""
        self._waiting.clear()
        self._answered.clear()

    def take(self, at: float) -> None:
        """An input that commands a motion, or ends one; `at` is the page's time."""
        self._waiting.append(at)

    def answer(self, epoch: int, step: int) -> None:
        """The observation (epoch, step) is answered with all inputs so far."""
        while self._waiting:
            self._answered.append(((epoch, step), self._waiting.popleft()))

    def execute(self, epoch: int, step: int) -> list[float]:
        """The answer to (epoch, step) was executed; returns the times of the inputs in it."""
        times = []
        while self._answered and self._answered[0][0] <= (epoch, step):
            times.append(self._answered.popleft()[1])
        return times
