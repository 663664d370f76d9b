# SPDX-License-Identifier: Apache-2.0
"""What an arm is doing, and what leads from one to the other.

    OFF -enable-> STARTING -aligned-> FOLLOWING -silence-> HOLDING -command-> FOLLOWING
    an emergency stop from anywhere with torque -> STOPPED -reset-> STARTING
    a fault from anywhere -> FAULT -recover-> OFF

A reset takes an emergency stop back and nothing else: the torque that a fault has taken comes only
to an arm that is set up anew.

The table below is the whole of it; a pair that it does not name changes nothing.
"""

from __future__ import annotations

from enum import Enum


class ArmPhase(Enum):
    """What the arm is doing."""

    OFF = 'off'  # no torque
    STARTING = 'starting'  # torque; the first commands are followed slowly
    FOLLOWING = 'following'  # commands are followed
    HOLDING = 'holding'  # nobody commands: the measured position is held
    STOPPED = 'stopped'  # an emergency stop; only a person's reset leads out
    FAULT = 'fault'  # no torque, for a reason that has to be mended first


PHASES = tuple(ArmPhase)


class ArmEvent(Enum):
    """What happens to it."""

    ENABLE = 'enable'
    ALIGNED = 'aligned'  # the goal has reached what is commanded
    COMMAND = 'command'
    SILENCE = 'silence'  # no command for the watchdog's time
    STOP = 'stop'
    FAULT = 'fault'
    RESET = 'reset'  # of an emergency stop
    RECOVER = 'recover'  # from a fault: everything is set up anew
    DISABLE = 'disable'


TABLE: dict[tuple[ArmPhase, ArmEvent], ArmPhase] = {
    (ArmPhase.OFF, ArmEvent.ENABLE): ArmPhase.STARTING,
    (ArmPhase.OFF, ArmEvent.FAULT): ArmPhase.FAULT,
    (ArmPhase.STARTING, ArmEvent.ALIGNED): ArmPhase.FOLLOWING,
    (ArmPhase.STARTING, ArmEvent.SILENCE): ArmPhase.STARTING,
    (ArmPhase.STARTING, ArmEvent.STOP): ArmPhase.STOPPED,
    (ArmPhase.STARTING, ArmEvent.FAULT): ArmPhase.FAULT,
    (ArmPhase.STARTING, ArmEvent.DISABLE): ArmPhase.OFF,
    (ArmPhase.FOLLOWING, ArmEvent.SILENCE): ArmPhase.HOLDING,
    (ArmPhase.FOLLOWING, ArmEvent.STOP): ArmPhase.STOPPED,
    (ArmPhase.FOLLOWING, ArmEvent.FAULT): ArmPhase.FAULT,
    (ArmPhase.FOLLOWING, ArmEvent.DISABLE): ArmPhase.OFF,
    (ArmPhase.HOLDING, ArmEvent.COMMAND): ArmPhase.FOLLOWING,
    (ArmPhase.HOLDING, ArmEvent.STOP): ArmPhase.STOPPED,
    (ArmPhase.HOLDING, ArmEvent.FAULT): ArmPhase.FAULT,
    (ArmPhase.HOLDING, ArmEvent.DISABLE): ArmPhase.OFF,
    (ArmPhase.STOPPED, ArmEvent.RESET): ArmPhase.STARTING,
    (ArmPhase.STOPPED, ArmEvent.FAULT): ArmPhase.FAULT,
    (ArmPhase.STOPPED, ArmEvent.DISABLE): ArmPhase.OFF,
    (ArmPhase.FAULT, ArmEvent.RECOVER): ArmPhase.OFF,
}
# Commands are taken here.
DRIVEN = frozenset({ArmPhase.STARTING, ArmPhase.FOLLOWING, ArmPhase.HOLDING})


def after(phase: ArmPhase, event: ArmEvent) -> ArmPhase:
    """The phase after an event."""
    return TABLE.get((phase, event), phase)


def refusal(name: str, phase: ArmPhase, message: str, stop_reason: str) -> str:
    """Why an arm takes no commands, in one sentence; empty: it does."""
    if phase in DRIVEN and not stop_reason:
        return ''
    why = message or stop_reason or 'it has no torque yet'
    return f"the arm '{name}' takes no commands: {why}"
