# SPDX-License-Identifier: Apache-2.0
"""Where the servos of a leader arm are at 0, from poses that both arms were put in.

For each joint the follower's angle q and the leader's servo angle s should be q = d (s - o); the
direction d and the offset o are those with the least squares over the poses. A gripper is compared
by its opening, since the two need not have the same travel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_robot.dynamixel.arm_config import ArmConfig, Joint

FloatArray = NDArray[np.float64]

LEAST_POSES = 3
# rad, how far a joint must be moved between poses for its direction to be told.
LEAST_TRAVEL = 0.3
# rad, root mean square of a joint, above which the two arms were not in the same poses.
MOST_ERROR = 0.15


@dataclass(frozen=True, eq=False)
class JointFit:
    """One joint of the leader.

    Attributes:
        name: Of the joint.
        offset: rad, 0 to 2 pi, the servo's angle where the joint is at 0.
        direction: 1 or -1.
        residuals: rad (P,), the leader's angle less the follower's in each pose.
        held_out: rad, root mean square of what each pose leaves unexplained when the offset is
            fitted to the others.
    """

    name: str
    offset: float
    direction: int
    residuals: FloatArray
    held_out: float

    @property
    def error(self) -> float:
        """rad, root mean square."""
        return float(np.sqrt(np.mean(self.residuals**2)))


def wanted_angles(leader: ArmConfig, follower: ArmConfig, angles: FloatArray) -> FloatArray:
    """Where the leader's joints should be.

    Args:
        angles: rad (P, J) of the follower's joints, in its order.

    Returns:
        rad (P, K), in the leader's order.

    Raises:
        HiwmError: The follower lacks a joint of the leader.
    """
    lacking = [name for name in leader.names if name not in follower.names]
    if lacking:
        raise HiwmError(
            f"the leader '{leader.name}' has the joint '{lacking[0]}', which the follower "
            f"'{follower.name}' has not; it has: {', '.join(follower.names)}"
        )
    columns = []
    for joint in leader.joints:
        column = angles[:, follower.names.index(joint.name)]
        mine, other = leader.gripper, follower.gripper
        if mine is not None and other is not None and joint.name == mine.joint == other.joint:
            column = np.array([mine.angle_of(other.opening_of(angle)) for angle in column])
        columns.append(column)
    return np.column_stack(columns)


def fit_leader(
    leader: ArmConfig, servo_angles: FloatArray, wanted: FloatArray
) -> tuple[JointFit, ...]:
    """Offset and direction of every joint.

    Args:
        servo_angles: rad (P, K), what the leader's servos measure.
        wanted: rad (P, K), `wanted_angles`.

    Raises:
        HiwmError: Too few poses, a joint that was not moved, or poses that were not the same.
    """
    if len(wanted) < LEAST_POSES:
        raise HiwmError(f'{len(wanted)} poses are too few; take {LEAST_POSES} or more')
    fits = [
        _fit_joint(joint, servo_angles[:, column], wanted[:, column])
        for column, joint in enumerate(leader.joints)
    ]
    worst = max(fits, key=lambda fit: fit.error)
    if worst.error > MOST_ERROR:
        pose = int(np.abs(worst.residuals).argmax()) + 1
        raise HiwmError(
            f"joint '{worst.name}' differs by {math.degrees(worst.error):.0f} degrees in the mean, "
            f'most in pose {pose}: were both arms in the same pose, and is it geared the same?'
        )
    return tuple(fits)


def _fit_joint(joint: Joint, servo: FloatArray, wanted: FloatArray) -> JointFit:
    travel = float(np.ptp(wanted))
    if travel < LEAST_TRAVEL:
        raise HiwmError(
            f"joint '{joint.name}' was moved by {math.degrees(travel):.0f} degrees between the "
            f'poses; move every joint by {math.degrees(LEAST_TRAVEL):.0f} degrees at least'
        )
    candidates = []
    for direction in (1, -1):
        offsets = servo - direction * wanted
        # Twice, since a tiny negative number's remainder is a full turn.
        offset = _mean_angle(offsets) % math.tau % math.tau
        residuals = direction * _wrapped(offsets - offset)
        left_out = [
            _wrapped(offsets[each] - _mean_angle(np.delete(offsets, each)))
            for each in range(len(offsets))
        ]
        held_out = float(np.sqrt(np.mean(np.square(left_out))))
        candidates.append(JointFit(joint.name, offset, direction, residuals, held_out))
    return min(candidates, key=lambda fit: fit.error)


def _mean_angle(angles: FloatArray) -> float:
    """rad, of angles that may lie on both sides of a full turn.

    The first guess is the mean direction, about which the plain mean has the least squares.
    """
    guess = math.atan2(float(np.sin(angles).mean()), float(np.cos(angles).mean()))
    return guess + float(np.mean(_wrapped(angles - guess)))


def _wrapped(angles: FloatArray) -> FloatArray:
    """rad, in [-pi, pi)."""
    return np.asarray((angles + math.pi) % math.tau - math.pi, np.float64)


def worst_of(fits: Sequence[JointFit]) -> JointFit:
    """The joint with the largest error."""
    return max(fits, key=lambda fit: fit.error)
