# SPDX-License-Identifier: Apache-2.0
"""What a rollout tree is made of: nodes, and branches as names for paths of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from hiwm_core.action import Source


class Label(IntEnum):
    """A person's judgement of a branch: the constants of `hiwm_msgs/srv/Label`."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    DISCARD = 3


@dataclass(frozen=True, slots=True)
class Node:
    """One step, without its observation and the action that led to it.

    Attributes:
        id: From 1, in the order of making.
        parent: 0 for a root.
        step: Steps from its root.
        epoch: In which it was made.
        branch: On which it was made.
        source: Who chose the action that led to it.
        key: 64 bits of randomness for the step that leads on from here.
        progress: The task's measure of success; NaN if unknown.
        success: Probability that the task is done; NaN if unknown.
    """

    id: int
    parent: int
    step: int
    epoch: int
    branch: str
    source: Source
    key: int
    progress: float
    success: float


@dataclass(frozen=True, slots=True)
class Branch:
    """A name for a path; see `hiwm_msgs/msg/TreeBranch`. `salt` sets its randomness apart."""

    name: str
    root: int
    fork: int
    head: int
    salt: int = 0
    label: Label = Label.NONE
    note: str = ''
