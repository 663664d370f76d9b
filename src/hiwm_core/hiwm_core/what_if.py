# SPDX-License-Identifier: Apache-2.0
"""What if: many futures of one node, computed together and beside the rollout tree.

`expand` tries given actions; `hiwm_core.rollout` lets a policy choose them. Neither touches the
tree. Rows draw their randomness as nodes do (`hiwm_core.key`): with the salt of the branch on which
they would be made, a row draws exactly the numbers that the tree would draw for its actions. Its
bits are nevertheless not those of the tree's nodes: how a network's sums are split over a processor
depends on how many rows are computed together, and with it the last bits of each row. A node
therefore is always computed alone, and a what-if is never stored as one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import clip_values
from hiwm_core.backend import Backend, Readings, state_of
from hiwm_core.error import HiwmError
from hiwm_core.key import child_key, step_key
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]
FrameArray = NDArray[np.uint8]


class Futures:
    """B futures of one state, each of which goes its own way from now on.

    Args:
        state: float64 (1, Z).
        key: The node's.
        salts: One for each future.

    Attributes:
        states: float64 (B, Z), where they stand.
    """

    def __init__(self, state: FloatArray, key: int, salts: Sequence[int]) -> None:
        self.states = np.repeat(state, len(salts), axis=0)
        self._keys = [key] * len(salts)
        self._salts = list(salts)

    def step(self, backend: Backend, actions: FloatArray) -> None:
        """One period on in one call, with actions (B, A) within the limits, as executed."""
        draws = [step_key(key, salt) for key, salt in zip(self._keys, self._salts, strict=True)]
        self.states = backend.step(self.states, actions, draws)
        self._keys = [
            child_key(key, salt, action)
            for key, salt, action in zip(self._keys, self._salts, actions, strict=True)
        ]

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Go on with these alone, in this order."""
        self.states = self.states[rows]
        self._keys = [self._keys[row] for row in rows]
        self._salts = [self._salts[row] for row in rows]


@dataclass(frozen=True, eq=False)
class Expansion:
    """What B branches of T steps lead to; index t is the state after the (t + 1)-th action.

    Attributes:
        actions: float64 (B, T, A), as executed: within the task's limits.
        states: float64 (B, T, Z).
        readings: Each array with (B, T) in the place of B. Fidelity is NaN where it is judged by
            frames and the step was not decoded.
        frames: uint8 (B, H, W, 3) of each step that was asked for.
    """

    actions: FloatArray
    states: FloatArray
    readings: Readings
    frames: dict[int, FrameArray]


def expand(
    task: Task,
    backend: Backend,
    tree: RolloutTree,
    node: int,
    actions: FloatArray,
    *,
    frames_at: Collection[int] = (),
    salts: Sequence[int] | None = None,
) -> Expansion:
    """Try B sequences of actions from a node, in one forward pass for each step.

    Args:
        node: Where they begin.
        actions: (B, T, A), in the task's order and units; B and T at least 1.
        frames_at: Steps of which frames are wanted, from 0 (after the first action) to T - 1, or
            counted from the end, as -1.
        salts: One for each row; left out, every row has that of the node's branch.

    Raises:
        HiwmError: There is no such node, the actions have another shape or are not finite, or the
            backend failed.
    """
    at = tree.node(node)
    values = np.asarray(actions, dtype=np.float64)
    if values.ndim != 3 or values.shape[2] != len(task.actions) or not values.size:
        raise HiwmError(
            f'actions of shape {values.shape} were given; an expansion of task '
            f"'{task.name}' needs (branches, steps, {len(task.actions)}), each 1 or more"
        )
    if not np.isfinite(values).all():
        raise HiwmError('the actions of an expansion have a value that is not a finite number')
    count, steps, _ = values.shape
    wanted = _steps(frames_at, steps)
    salts = [tree.branch(at.branch).salt] * count if salts is None else salts
    if len(salts) != count:
        raise HiwmError(f'{len(salts)} salts were given for {count} branches; one each is needed')
    values = clip_values(task, values)
    futures = Futures(state_of(backend, tree.observation(node), at.key), at.key, salts)
    states, readings, frames = [], [], {}
    for step in range(steps):
        futures.step(backend, values[:, step])
        states.append(futures.states)
        if step in wanted:
            frames[step] = backend.decode(futures.states)
        readings.append(backend.heads(futures.states, frames.get(step)))
    return Expansion(values, np.stack(states, axis=1), _stacked(readings), frames)


def _steps(asked: Collection[int], steps: int) -> set[int]:
    """The steps asked for, each from 0 on. Raises HiwmError if there is none of that number."""
    for step in asked:
        if not -steps <= step < steps:
            raise HiwmError(f'a frame of step {step} was asked for; the steps are 0 to {steps - 1}')
    return {step % steps for step in asked}


def _stacked(readings: Sequence[Readings]) -> Readings:
    """T readings of B rows as one with (B, T)."""
    return Readings(
        **{
            each.name: np.stack([getattr(reading, each.name) for reading in readings], axis=1)
            for each in fields(Readings)
        }
    )
