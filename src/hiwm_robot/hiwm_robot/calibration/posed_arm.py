# SPDX-License-Identifier: Apache-2.0
"""An arm without torque that a person puts in a pose, and its servos' angles there."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_servos import open_and_check
from hiwm_robot.dynamixel.bus import ServoBus

FloatArray = NDArray[np.float64]

READINGS = 20
# rad, how far an arm may move while it is read.
STILL = 0.02


class PosedArm:
    """One arm on its bus.

    Args:
        role: What sentences call it: 'leader' or 'follower'.
        config: Its file.
        bus: Its servos.
    """

    def __init__(self, role: str, config: ArmConfig, bus: ServoBus) -> None:
        self.config = config
        self._role = role
        self._bus = bus

    def connect(self) -> None:
        """Open the port, look who is there, and take the torque off.

        Raises:
            HiwmError: The port, a servo or its model is not as the file says.
        """
        open_and_check(self._bus, self.config, 'are the ports exchanged?')
        for servo in self.config.servos:
            self._bus.write(servo, table.TORQUE_ENABLE, 0)

    def servo_angles(self) -> FloatArray:
        """rad (J,), what the servos measure, in the mean of some readings.

        Raises:
            HiwmError: A servo does not answer, or the arm is moved.
        """
        counts = np.array(
            [
                [self._bus.read(servo, table.PRESENT_POSITION) for servo in self.config.servos]
                for _ in range(READINGS)
            ]
        )
        angles = counts * table.RADIANS_PER_TICK
        moved = np.ptp(angles, axis=0)
        if moved.max() > STILL:
            joint = self.config.joints[int(moved.argmax())]
            raise HiwmError(
                f"joint '{joint.name}' of the {self._role} moved by "
                f'{math.degrees(moved.max()):.1f} degrees while it was read; hold it still'
            )
        return np.asarray(angles.mean(axis=0), np.float64)

    def angles(self) -> FloatArray:
        """rad (J,), of the joints by the arm's file. Raises HiwmError as `servo_angles`."""
        return np.array(
            [
                joint.direction * (angle - joint.offset)
                for joint, angle in zip(self.config.joints, self.servo_angles(), strict=True)
            ]
        )

    def close(self) -> None:
        """Close the port."""
        self._bus.close()
