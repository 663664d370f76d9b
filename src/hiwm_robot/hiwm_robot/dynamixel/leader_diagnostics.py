# SPDX-License-Identifier: Apache-2.0
"""What a leader says of itself on /diagnostics: one status for the arm, one for each servo."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from hiwm_robot.dynamixel.leader import Leader
from hiwm_robot.dynamixel.leader_phase import LeaderPhase
from hiwm_robot.dynamixel.servo_diagnostics import servo_statuses


def leader_statuses(name: str, leader: Leader) -> list[DiagnosticStatus]:
    """The statuses; servos only after their first measurement."""
    phase, fault = leader.phase, leader.message
    level, message = DiagnosticStatus.OK, phase.value
    if heavy := _too_heavy(leader):
        level, message = DiagnosticStatus.WARN, heavy
    if fault or leader.sentence:
        level, message = DiagnosticStatus.ERROR, fault or leader.sentence
    arm = DiagnosticStatus(
        level=level,
        name=f'{name}: leader',
        message=message,
        hardware_id=leader.config.port,
        values=[KeyValue(key='phase', value=phase.value)],
    )
    return [arm, *servo_statuses(name, leader.config, leader.measured, fault)]


def _too_heavy(leader: Leader) -> str:
    """Which joint needs more current than it may have; empty: none does."""
    needed = leader.needed
    if leader.phase is not LeaderPhase.BORNE or needed is None:
        return ''
    for joint, current in zip(leader.config.joints, needed, strict=True):
        limit = joint.current_limit
        if limit is not None and abs(current) > limit:
            return (
                f'servo {joint.servo} ({joint.name}) needs {abs(current):.2f} A, more than its '
                f'limit of {limit:g} A: the arm sinks here'
            )
    return ''
