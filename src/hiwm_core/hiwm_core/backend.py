# SPDX-License-Identifier: Apache-2.0
"""What can stand behind a rig that can be rolled back: history and action in, observation out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.observation import Observation


class Backend(Protocol):
    """A scene that can be continued from any of its past states.

    A backend keeps no state of its own between calls: the same arguments give bit-identical results
    on one machine and build, in any order of calls. That is what makes every step a checkpoint. A
    rig makes one call at a time, though not always from the same thread.
    """

    @property
    def name(self) -> str:
        """The rig's name in `RigState.rig`."""
        ...

    @property
    def context(self) -> int:
        """How many of the newest observations `step` looks at, at least 1."""
        ...

    def reset(self, scene: NDArray[np.float64], key: int) -> Observation:
        """The observation of a start.

        Args:
            scene: float64 (S,), every scene variable of the task.
            key: 64 bits of randomness.
        """
        ...

    def step(
        self, history: Sequence[Observation], action: NDArray[np.float64], key: int
    ) -> Observation:
        """The observation one period after `history[-1]`, with `action` commanded all the while.

        Args:
            history: The newest observations along the path, oldest first; at most `context`, fewer
                near a root.
            action: float64 (A,), within the task's limits.
            key: 64 bits of randomness, a function of the node.
        """
        ...
