# SPDX-License-Identifier: Apache-2.0
"""Who drives, for the latched state of the multiplexer."""

from __future__ import annotations

from dataclasses import dataclass

from hiwm_core.action import Source
from hiwm_intervention.takeover import Phase


@dataclass(frozen=True)
class MuxStatus:
    """The fields of `hiwm_msgs/msg/MuxState`; ages in seconds, NaN before the first proposal."""

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
    policy_age: float
    operator_age: float
