# SPDX-License-Identifier: Apache-2.0
"""Who drives, for the latched state of the multiplexer."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hiwm_core.action import Source
from hiwm_intervention.takeover import Phase
from hiwm_intervention.trigger import Trigger


@dataclass(frozen=True)
class MuxStatus:
    """The fields of `hiwm_msgs/msg/MuxState`; times in seconds, NaN before the first proposal."""

    phase: Phase
    source: Source
    operator_id: str
    device: str
    holding: bool
    reason: str
    epoch: int
    step: int
    sent_actions: int
    held_actions: int
    rejected_actions: int
    waiting: bool
    human_time: float
    asked_by: str
    trigger: Trigger
    policy_age: float
    operator_age: float

    def differs(self, other: MuxStatus) -> bool:
        """Whether there is news, beside the counts and times that go on by themselves."""
        return any(
            getattr(self, field.name) != getattr(other, field.name)
            for field in fields(self)
            if field.name not in GOING_ON
        )


GOING_ON = frozenset(
    {'step', 'sent_actions', 'held_actions', 'human_time', 'policy_age', 'operator_age'}
)
