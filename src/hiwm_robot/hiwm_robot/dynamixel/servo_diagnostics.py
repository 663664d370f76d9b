# SPDX-License-Identifier: Apache-2.0
"""What an arm says of itself on /diagnostics: one status for the arm, one for each servo."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np

from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_phase import ArmPhase
from hiwm_robot.dynamixel.arm_process import ArmProcess
from hiwm_robot.dynamixel.arm_safety import Measured

# Of the temperature limit, degC below it.
WARM = 5.0
RANKS = (50, 99)
LEVELS = {ArmPhase.FAULT: DiagnosticStatus.ERROR, ArmPhase.STOPPED: DiagnosticStatus.WARN}


def arm_statuses(name: str, arm: ArmProcess) -> list[DiagnosticStatus]:
    """The statuses; servos only after their first measurement."""
    fault = arm.message if arm.faulty else ''
    return [_arm_status(name, arm), *servo_statuses(name, arm.config, arm.measured, fault)]


def _arm_status(name: str, arm: ArmProcess) -> DiagnosticStatus:
    phase, message = arm.phase, arm.message
    values = [
        KeyValue(key='phase', value=phase.value),
        KeyValue(key='unread turns', value=str(arm.count('missed'))),
        KeyValue(key='left out turns', value=str(arm.count('overruns'))),
    ]
    for key, ring in (
        ('lateness', 'lateness'),
        ('turn', 'busy'),
        ('command to goal', 'answers'),
    ):
        times = arm.times(ring)
        if len(times):
            for rank, value in zip(RANKS, np.percentile(times, RANKS) * 1e3, strict=True):
                values.append(KeyValue(key=f'{key} p{rank} (ms)', value=f'{value:.3f}'))
    level = LEVELS.get(phase, DiagnosticStatus.ERROR if message else DiagnosticStatus.OK)
    return DiagnosticStatus(
        level=level,
        name=f'{name}: arm',
        message=message or phase.value,
        hardware_id=arm.config.port,
        values=values,
    )


def servo_statuses(
    name: str, config: ArmConfig, measured: Measured | None, fault: str
) -> list[DiagnosticStatus]:
    """One for each servo, once it is measured; `fault` is a sentence that may name one."""
    if measured is None:
        return []
    found = []
    for place, joint in enumerate(config.joints):
        temperature = float(measured.temperatures[place])
        who = f'servo {joint.servo} ({joint.name})'
        level, message = DiagnosticStatus.OK, 'as it should be'
        if temperature >= config.limits.temperature - WARM:
            level, message = DiagnosticStatus.WARN, f'{temperature:.0f} degC'
        if measured.alerts[place]:
            level, message = DiagnosticStatus.ERROR, 'hardware error'
        if who in fault:
            level, message = DiagnosticStatus.ERROR, fault
        found.append(
            DiagnosticStatus(
                level=level,
                name=f'{name}: {who}',
                message=message,
                hardware_id=f'{joint.model.name} {joint.servo}',
                values=[
                    KeyValue(key='temperature (degC)', value=f'{temperature:.0f}'),
                    KeyValue(key='voltage (V)', value=f'{measured.voltages[place]:.1f}'),
                    KeyValue(key='current (A)', value=f'{measured.currents[place]:.3f}'),
                    KeyValue(key='position (rad)', value=f'{measured.angles[place]:.4f}'),
                ],
            )
        )
    return found
