# SPDX-License-Identifier: Apache-2.0
"""What can drive: a function from the newest observations to a chunk of actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hiwm_core.observation import Observation


class Policy(Protocol):
    """A policy without state of its own: what it needs of the past is in its history."""

    @property
    def name(self) -> str:
        """What `Action.device` says of its actions."""
        ...

    @property
    def context(self) -> int:
        """How many of the newest observations it looks at (the field's `To`)."""
        ...

    @property
    def chunk_steps(self) -> int:
        """How many actions of a chunk are executed before the next is asked for (`Ta`)."""
        ...

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        """The next actions.

        Args:
            history: The newest observations, oldest first; at most `context`, fewer after a reset.
                Only `frame` and `joints` may be looked at: a robot's camera gives no more.
            key: 64 bits of randomness; the same arguments give the same chunk.

        Returns:
            float64 (n, A) with n >= `chunk_steps`, in the task's order and units.
        """
        ...


@runtime_checkable
class BatchedPolicy(Policy, Protocol):
    """A policy that can compute many chunks together faster than one after the other."""

    def chunks(
        self, histories: Sequence[Sequence[Observation]], keys: Sequence[int]
    ) -> NDArray[np.float64]:
        """The next actions float64 (B, n, A) of B histories; each as in `chunk`.

        The last bits of a chunk may depend on how many are computed together.
        """
        ...


@runtime_checkable
class ClosingPolicy(Policy, Protocol):
    """A policy that has something outside of this process, a process of its own for example."""

    def close(self) -> None:
        """Let go of it. There are no chunks afterwards."""
        ...


def chunks_of(
    policy: Policy, histories: Sequence[Sequence[Observation]], keys: Sequence[int]
) -> NDArray[np.float64]:
    """Chunks (B, n, A) of B histories: together where the policy can, else one after the other."""
    if isinstance(policy, BatchedPolicy):
        return policy.chunks(histories, keys)
    return np.stack(
        [policy.chunk(history, key) for history, key in zip(histories, keys, strict=True)]
    )
