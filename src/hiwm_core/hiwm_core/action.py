# SPDX-License-Identifier: Apache-2.0
"""Actions apart from their message, and the checks that every receiver makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_core.task import Task


class Source(IntEnum):
    """Who chose an action: the constants of `hiwm_msgs/msg/Action`."""

    NONE = 0
    POLICY = 1
    OPERATOR = 2
    HOLD = 3
    HANDOVER = 4


@dataclass(frozen=True, eq=False)
class Action:
    """One command.

    Attributes:
        values: float64 (A,), in the task's order and units.
        source: Who chose them.
        epoch: The rig's epoch that the observation belonged to.
        step: `RigState.step` of the observation that this answers.
        device: What it came from; may be empty.
        seq: Counts its sender's messages.
        deadman: The operator's dead-man level; true from sources that have none.
        idle: The operator commands no motion now; time stands still where it may.
        spread: How far the sender's own samples lie apart, 1: the task's `max_step`; NaN: unknown.
    """

    values: NDArray[np.float64]
    source: Source
    epoch: int
    step: int
    device: str = ''
    seq: int = 0
    deadman: bool = True
    idle: bool = False
    spread: float = math.nan


def read_values(task: Task, names: Sequence[str], values: Sequence[float]) -> NDArray[np.float64]:
    """The values (A,) of a received command in the task's order.

    Raises:
        HiwmError: Wrong names, a wrong length, or a value that is not finite.
    """
    if len(names) != len(values):
        raise HiwmError(
            f'an action has {len(names)} names and {len(values)} values; it needs one each'
        )
    if sorted(names) != sorted(task.action_names):
        raise HiwmError(
            f"an action of task '{task.name}' names {', '.join(task.action_names)}; "
            f'this one names {", ".join(names) or "nothing"}'
        )
    by_name = dict(zip(names, values, strict=True))
    ordered = np.array([by_name[name] for name in task.action_names], dtype=np.float64)
    if not np.isfinite(ordered).all():
        wrong = [
            name
            for name, value in zip(task.action_names, ordered, strict=True)
            if not np.isfinite(value)
        ]
        raise HiwmError(f"the action's value of {', '.join(wrong)} is not a finite number")
    return ordered


def clip_values(task: Task, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values (A,) within the task's limits: what is executed and recorded."""
    return np.clip(values, task.action_low, task.action_high)
