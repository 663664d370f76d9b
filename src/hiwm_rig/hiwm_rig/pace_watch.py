# SPDX-License-Identifier: Apache-2.0
"""Notices a backend that cannot keep up with its task."""

from __future__ import annotations

# A machine that is busy while a session starts makes some steps late; what is slower than real time
# is late with every one.
FIRST_STEPS = 5


class PaceWatch:
    """Looks at how long the first steps take.

    Args:
        period: s, of the task.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._steps = 0
        self._fastest = float('inf')

    def took(self, seconds: float) -> float | None:
        """A step took so long.

        Returns:
            With the last of the first steps, if each took longer than the period: the fastest (s).
        """
        self._steps += 1
        self._fastest = min(self._fastest, seconds)
        late = self._steps == FIRST_STEPS and self._fastest > self._period
        return self._fastest if late else None
