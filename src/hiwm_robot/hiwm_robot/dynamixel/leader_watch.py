# SPDX-License-Identifier: Apache-2.0
"""Looks at what a leader's servos report while they bear it: why they must let go."""

from __future__ import annotations

import numpy as np

from hiwm_robot.dynamixel.arm_safety import Measured, ServoWatch

# Of the current limit: the servo's own regulation keeps the current about it.
REGULATION = 1.1


class LeaderWatch(ServoWatch):
    """What makes a leader let go; its speed too, because nothing else holds it back."""

    def fault(self, measured: Measured, seconds: float) -> str:
        """Why the torque has to go off; empty: it need not.

        Args:
            seconds: Since the last look.
        """
        hot = np.flatnonzero(measured.temperatures >= self._limits.temperature)
        if len(hot):
            joint = int(hot[0])
            return (
                f'{self.who(joint)} is at {measured.temperatures[joint]:.0f} degC, the limit is '
                f'{self._limits.temperature:.0f}; let it cool'
            )
        fast = np.flatnonzero(np.abs(measured.speeds) > self._speeds)
        if len(fast):
            joint = int(fast[0])
            return (
                f'{self.who(joint)} turned at {abs(measured.speeds[joint]):.1f} rad/s, the limit '
                f'is {self._speeds[joint]:.1f}; move it more slowly, or raise its max_speed'
            )
        with np.errstate(invalid='ignore'):
            over = np.abs(measured.currents) > REGULATION * self._currents
        strained = self._strained_joints(over, seconds)
        if len(strained):
            joint = int(strained[0])
            return (
                f'{self.who(joint)} has drawn {abs(measured.currents[joint]):.2f} A for '
                f'{self._limits.overcurrent_time:g} s, the limit is {self._currents[joint]:g}; '
                'look what is wrong with it'
            )
        return ''
