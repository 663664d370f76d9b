# SPDX-License-Identifier: Apache-2.0
"""What a rig's node asks of whatever makes its steps: a backend's worker, or a physical arm."""

from __future__ import annotations

from contextlib import AbstractContextManager
import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action
from hiwm_core.backend import Backend
from hiwm_core.rollout_tree import Node


class Steps(Protocol):
    """The steps of one rig; `stepper.Stepper` says what each method means."""

    lock: threading.RLock

    def start(self) -> None:
        """Begin to make steps."""
        ...

    def stop(self) -> None:
        """Make no more steps."""
        ...

    def tick(self) -> None:
        """A period has begun."""
        ...

    def receive(self, action: Action, arrived: float) -> None:
        """Take an action in that arrived then (s, monotonic)."""
        ...

    def pause(self) -> None:
        """Stand still."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...

    def step_by_hand(self, count: int) -> None:
        """Make steps now, in a pause."""
        ...

    def reset(self, scene: NDArray[np.float64]) -> Node:
        """Begin anew from a scene (S,)."""
        ...

    def lend_backend(self) -> AbstractContextManager[Backend]:
        """The backend for a call beside the session."""
        ...

    def set_pace(self, advance: int, speed: float) -> None:
        """Change how time runs."""
        ...
