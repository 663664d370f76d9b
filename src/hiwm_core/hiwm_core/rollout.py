# SPDX-License-Identifier: Apache-2.0
"""Can the policy recover from here? A policy continues a node many times over, in lockstep.

The continuations differ in what the policy draws and in what the backend draws, both functions of
the seed; an equal rollout on one machine and build has an equal outcome. A continuation ends when
the task is done in a frame, and the others go on without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import clip_values
from hiwm_core.backend import Backend, observe, state_of
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.key import chunk_key, continuation_salt
from hiwm_core.observation import Observation
from hiwm_core.policy import Policy, chunks_of
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task
from hiwm_core.what_if import Futures

MOST_CONTINUATIONS = 256
LONGEST_HORIZON = 2000

BorrowBackend = Callable[[], AbstractContextManager[Backend]]


@dataclass
class Continuation:
    """How one continuation went: the fields of `hiwm_msgs/msg/Continuation`."""

    succeeded: bool
    steps_to_success: int
    steps: int
    success: float
    progress: float
    best_progress: float
    fidelity: float


def check_size(count: int, horizon: int, seed: int) -> None:
    """Raises HiwmError if a rollout cannot have so many continuations, steps, or this seed."""
    for what, value, most in (
        ('continuations', count, MOST_CONTINUATIONS),
        ('steps', horizon, LONGEST_HORIZON),
    ):
        if not 1 <= value <= most:
            raise HiwmError(f'a rollout has 1 to {most} {what}, not {value}')
    if seed < 0:
        raise HiwmError(f'a seed is 0 or larger, not {seed}')


class Rollout:
    """Continuations of one node.

    Args:
        task: What is commanded and measured.
        tree: Holds the node; read now and not again.
        node: Where they begin.
        policy: Drives.
        borrow: Lends the backend for one call after the other; at most `batch` rows are computed
            in one loan, so that who else needs it gets it in between.
        count: How many continuations, 1 to 256.
        horizon: Steps of each, 1 to 2000.
        seed: Of all randomness, 0 or larger.
        batch: Rows that are computed together, 1 or more.

    Attributes:
        continuations: One for each, as far as it came.
        steps: Done so far.

    Raises:
        HiwmError: There is no such node, or a number lies outside its range.
    """

    def __init__(
        self,
        task: Task,
        tree: RolloutTree,
        node: int,
        policy: Policy,
        borrow: BorrowBackend,
        *,
        count: int,
        horizon: int,
        seed: int,
        batch: int,
    ) -> None:
        check_size(count, horizon, seed)
        at = tree.node(node)
        past = [tree.observation(each.id) for each in tree.history(node, policy.context)]
        self.horizon = horizon
        self.steps = 0
        self.continuations = [_begun(task, past[-1]) for _ in range(count)]
        self._task = task
        self._policy = policy
        self._borrow = borrow
        self._key = at.key
        self._start = past[-1]
        running = [] if self.continuations[0].succeeded else list(range(count))
        self._groups = [
            _Group(running[first : first + batch], past, policy.context, at.key, seed)
            for first in range(0, len(running), batch)
        ]

    @property
    def done(self) -> bool:
        """Whether every continuation has succeeded or reached the horizon."""
        return not self._groups or self.steps >= self.horizon

    @property
    def successes(self) -> int:
        """How many continuations have succeeded so far."""
        return sum(each.succeeded for each in self.continuations)

    def step(self) -> None:
        """One period of every continuation that goes on.

        Raises:
            HiwmError: The policy or the backend failed; the continuations stay as they were, or
                are a step on.
        """
        for group in self._groups:
            actions = self._actions(group)
            with self._borrow() as backend:
                if group.futures is None:
                    group.begin(state_of(backend, self._start, self._key))
                seen = group.step(backend, actions)
            going = []
            for row, observation in enumerate(seen):
                group.histories[row].append(observation)
                each = self.continuations[group.numbers[row]]
                _take(self._task, each, observation)
                if not each.succeeded:
                    going.append(row)
            group.keep(np.array(going, dtype=np.intp))
        self._groups = [group for group in self._groups if group.numbers]
        self.steps += 1

    def _actions(self, group: _Group) -> NDArray[np.float64]:
        """What each row of a group does now (B, A), within the limits."""
        place = self.steps % self._policy.chunk_steps
        if place == 0:
            keys = [chunk_key(self._key, salt, self.steps) for salt in group.salts]
            chunks = chunks_of(self._policy, [list(each) for each in group.histories], keys)
            needed = (len(keys), self._policy.chunk_steps, len(self._task.actions))
            if (
                chunks.ndim != 3
                or chunks.shape[::2] != needed[::2]
                or chunks.shape[1] < needed[1]
                or not np.isfinite(chunks).all()
            ):
                raise HiwmError(
                    f"the policy '{self._policy.name}' gave chunks of shape {chunks.shape} or with "
                    f'values that are not finite; {needed} or more steps are needed',
                    ErrorCode.MODEL_FAULT,
                )
            group.chunks = clip_values(self._task, chunks)
        return np.ascontiguousarray(group.chunks[:, place])


class _Group:
    """Continuations that are computed together.

    Attributes:
        numbers: Which continuation each row is.
    """

    def __init__(
        self, numbers: list[int], past: list[Observation], context: int, key: int, seed: int
    ) -> None:
        self.numbers = numbers
        self.salts = [continuation_salt(seed, number) for number in numbers]
        self.histories = [deque(past, maxlen=context) for _ in numbers]
        self.chunks: NDArray[np.float64] = np.empty((len(numbers), 0, 0))
        self.futures: Futures | None = None
        self._key = key

    def begin(self, state: NDArray[np.float64]) -> None:
        """Stand at a state (1, Z)."""
        self.futures = Futures(state, self._key, self.salts)

    def step(self, backend: Backend, actions: NDArray[np.float64]) -> list[Observation]:
        """One period on, and what is seen there."""
        assert self.futures is not None
        self.futures.step(backend, actions)
        return observe(backend, self.futures.states)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with these rows alone."""
        if len(rows) == len(self.numbers):
            return
        assert self.futures is not None
        self.futures.keep(rows)
        self.numbers = [self.numbers[row] for row in rows]
        self.salts = [self.salts[row] for row in rows]
        self.histories = [self.histories[row] for row in rows]
        self.chunks = self.chunks[rows]


def _begun(task: Task, observation: Observation) -> Continuation:
    succeeded = task.succeeded(observation.progress, observation.success)
    return Continuation(
        succeeded=succeeded,
        steps_to_success=0 if succeeded else -1,
        steps=0,
        success=observation.success,
        progress=observation.progress,
        best_progress=observation.progress,
        fidelity=observation.fidelity,
    )


def _take(task: Task, continuation: Continuation, observation: Observation) -> None:
    """One more frame of a continuation."""
    continuation.steps += 1
    continuation.success, continuation.progress = observation.success, observation.progress
    # Of a number and NaN these give the number.
    continuation.best_progress = float(np.fmax(continuation.best_progress, observation.progress))
    continuation.fidelity = float(np.fmin(continuation.fidelity, observation.fidelity))
    if task.succeeded(observation.progress, observation.success):
        continuation.succeeded = True
        continuation.steps_to_success = continuation.steps
