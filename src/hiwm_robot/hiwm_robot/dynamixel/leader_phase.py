# SPDX-License-Identifier: Apache-2.0
"""What bears a leader arm, and what leads from one to the other.

    LIMP -enable-> BORNE -disable-> LIMP
    a fault -> FAULT -enable-> BORNE; nothing leads out of it by itself

The table below is the whole of it; a pair that it does not name changes nothing.
"""

from __future__ import annotations

from enum import Enum


class LeaderPhase(Enum):
    """What bears it."""

    LIMP = 'limp'  # a person's hand alone
    BORNE = 'borne'  # its servos bear its weight
    FAULT = 'fault'  # a person's hand again, for a reason that has to be mended first


class LeaderEvent(Enum):
    """What happens to it."""

    ENABLE = 'enable'
    DISABLE = 'disable'
    FAULT = 'fault'


TABLE: dict[tuple[LeaderPhase, LeaderEvent], LeaderPhase] = {
    (LeaderPhase.LIMP, LeaderEvent.ENABLE): LeaderPhase.BORNE,
    (LeaderPhase.LIMP, LeaderEvent.FAULT): LeaderPhase.FAULT,
    (LeaderPhase.BORNE, LeaderEvent.DISABLE): LeaderPhase.LIMP,
    (LeaderPhase.BORNE, LeaderEvent.FAULT): LeaderPhase.FAULT,
    (LeaderPhase.FAULT, LeaderEvent.ENABLE): LeaderPhase.BORNE,
    (LeaderPhase.FAULT, LeaderEvent.DISABLE): LeaderPhase.LIMP,
}


def after(phase: LeaderPhase, event: LeaderEvent) -> LeaderPhase:
    """The phase after an event."""
    return TABLE.get((phase, event), phase)
