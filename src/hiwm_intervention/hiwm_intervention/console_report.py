# SPDX-License-Identifier: Apache-2.0
"""The newest states of rig, multiplexer and recorder, and how a page is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
import math
from typing import Any

from hiwm_core.action import Source
from hiwm_core.rig import Mode, Pace
from hiwm_intervention.console_protocol import finite
from hiwm_intervention.takeover import Phase
from hiwm_intervention.trigger import Trigger


@dataclass(frozen=True)
class RigReport:
    """The newest `hiwm_msgs/msg/RigState`; `stamp` in nanoseconds."""

    stamp: int
    session: str
    task: str
    rig: str
    epoch: int
    node: int
    parent: int
    branch: str
    step: int
    context: bool
    mode: int
    pace: int
    can_rollback: bool
    can_branch: bool
    progress: float
    success: float
    fidelity: float
    dropped_actions: int
    missed_deadlines: int
    message: str
    can_set_pace: bool = False
    speed: float = math.nan
    tick_time: float = math.nan
    executed_actions: int = 0

    def tell(self) -> dict[str, Any]:
        """For the page."""
        return {
            'session': self.session,
            'task': self.task,
            'rig': self.rig,
            'stamp': str(self.stamp),
            'epoch': self.epoch,
            'node': self.node,
            'branch': self.branch,
            'step': self.step,
            'context': self.context,
            'mode': name_of(Mode, self.mode),
            'pace': name_of(Pace, self.pace),
            'can_rollback': self.can_rollback,
            'can_branch': self.can_branch,
            'can_set_pace': self.can_set_pace,
            'speed': finite(self.speed),
            'tick_time': finite(self.tick_time, 5),
            'progress': finite(self.progress),
            'success': finite(self.success),
            'fidelity': finite(self.fidelity),
            'dropped_actions': self.dropped_actions,
            'missed_deadlines': self.missed_deadlines,
            'message': self.message,
        }


@dataclass(frozen=True)
class MuxReport:
    """The newest `hiwm_msgs/msg/MuxState`; `stamp` in nanoseconds."""

    stamp: int
    phase: int
    source: int
    operator_id: str
    device: str
    holding: bool
    reason: str
    rejected_actions: int
    waiting: bool = False
    human_time: float = 0.0
    asked_by: str = ''
    trigger: int = 0

    def tell(self) -> dict[str, Any]:
        """For the page."""
        return {
            'phase': name_of(Phase, self.phase),
            'source': name_of(Source, self.source),
            'operator': self.operator_id,
            'device': self.device,
            'holding': self.holding,
            'reason': self.reason,
            'rejected_actions': self.rejected_actions,
            'waiting': self.waiting,
            'human_time': finite(self.human_time, 1),
            'asked_by': self.asked_by,
            'trigger': name_of(Trigger, self.trigger),
        }


@dataclass(frozen=True)
class RecorderReport:
    """The newest `hiwm_msgs/msg/RecorderState`."""

    recording: bool
    uri: str
    written_bytes: int
    free_bytes: int
    message: str

    def tell(self) -> dict[str, Any]:
        """For the page."""
        return {
            'recording': self.recording,
            'uri': self.uri,
            'written_bytes': self.written_bytes,
            'free_bytes': self.free_bytes,
            'message': self.message,
        }


def name_of(kind: type[IntEnum], value: int) -> str:
    """The lower-case name of a constant; 'unknown' if there is none."""
    return kind(value).name.lower() if value in set(kind) else 'unknown'
