# SPDX-License-Identifier: Apache-2.0
"""The currents that bear an arm's weight.

A joint's torque at rest is the gravity of the URDF's masses (its base's z axis points up), times
the file's factor for this joint; the current is that by the model's torque constant, and never
beyond the joint's `current_limit`. The gripper has a spring instead: a constant current that opens
it and ends where it is open. Nothing here knows the bus or the time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.kinematics import Kinematics

FloatArray = NDArray[np.float64]

# Of the gripper's opening, over which the spring fades out before it is wide open.
SPRING_FADE = 0.2


class GravityCompensation:
    """Of one arm.

    Args:
        config: The arm, with an entry `compensation` in its file.

    Attributes:
        driven: Indices of the joints that get a current, in the arm's order.
        limits: counts (D,), the largest current of each.

    Raises:
        ConfigurationError: The file says nothing of compensation, or the URDF cannot be used.
    """

    def __init__(self, config: ArmConfig) -> None:
        compensation = config.compensation
        if compensation is None:
            raise ConfigurationError(
                f"the file of the arm '{config.name}' has no entry 'compensation'; add it as in "
                'reference_leader.yaml, or leave gravity_compensation:=false'
            )
        self._spring = compensation.spring
        self._gripper = config.gripper
        self._sprung = -1
        if config.gripper is not None and compensation.spring > 0.0:
            self._sprung = config.names.index(config.gripper.joint)
        self._kinematics = Kinematics(config.urdf, config.names, config.tool)
        joints = config.joints
        self._factors = np.array([compensation.factors.get(name, 0.0) for name in config.names])
        self._torque_constants = np.array([joint.model.torque_constant for joint in joints])
        self.driven = tuple(
            place
            for place, name in enumerate(config.names)
            if name in compensation.factors or place == self._sprung
        )
        units = np.array([joints[place].model.current_unit or np.nan for place in self.driven])
        ampere = np.array([joints[place].current_limit or 0.0 for place in self.driven])
        self.limits = np.round(ampere / units).astype(np.int64)
        # Counts of the servo for each ampere of the joint.
        self._counts = np.array([joints[place].direction for place in self.driven]) / units

    def currents(self, angles: FloatArray) -> FloatArray:
        """A (J,), what the arm needs at joint angles (J,), whether it may have it or not."""
        torques = self._factors * self._kinematics.gravity_torques(angles)
        currents = torques / self._torque_constants
        if self._sprung >= 0:
            currents[self._sprung] = self._spring_current(float(angles[self._sprung]))
        return np.asarray(currents)

    def goals(self, currents: FloatArray) -> list[int]:
        """The servos' goal currents (D,) in counts for currents (J,) in A, within their limits."""
        counts = np.round(currents[list(self.driven)] * self._counts).astype(np.int64)
        return [int(count) for count in np.clip(counts, -self.limits, self.limits)]

    def _spring_current(self, angle: float) -> float:
        assert self._gripper is not None
        share = np.clip((1.0 - self._gripper.opening_of(angle)) / SPRING_FADE, 0.0, 1.0)
        return float(np.sign(self._gripper.open - self._gripper.closed) * share * self._spring)
