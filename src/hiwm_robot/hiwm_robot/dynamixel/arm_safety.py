# SPDX-License-Identifier: Apache-2.0
"""What keeps an arm from harm, whatever it is told: limits of every goal, and a watch over what the
servos report. Nothing here knows the bus, the graph or the time of day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hiwm_robot.dynamixel.arm_config import ArmConfig

FloatArray = NDArray[np.float64]

# Of the current limit: the servo's own regulation keeps the current just below it.
FULL_CURRENT = 0.95
# rad, by which a joint may stand outside of its limits when the torque comes: so little is no jerk.
OUTSIDE = 0.05
# m, by which rounding may take a goal over the fence.
FENCE_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Measured:
    """What all servos report in one turn of the loop, one value for each joint.

    Attributes:
        angles: rad (J,).
        speeds: rad/s (J,).
        currents: A (J,); NaN where the servo measures none.
        voltages: V (J,).
        temperatures: degC (J,).
        alerts: bool (J,), whether the servo reports a hardware error.
    """

    angles: FloatArray
    speeds: FloatArray
    currents: FloatArray
    voltages: FloatArray
    temperatures: FloatArray
    alerts: NDArray[np.bool_]


class GoalLimiter:
    """Makes of any target a goal that may be sent.

    Args:
        config: Limits.
        tool_position: Of the tool in the base frame, m (3,), for joint angles (J,).
    """

    def __init__(
        self, config: ArmConfig, tool_position: Callable[[FloatArray], FloatArray]
    ) -> None:
        self._joints = config.joints
        self._low, self._high = _countable_limits(config)
        self._speed = config.max_speed
        self._start_speed = np.minimum(config.max_speed, config.limits.start_speed)
        self._max_lag = config.limits.max_lag
        fence = np.array(config.limits.fence)
        self._fence_low, self._fence_high = fence[:, 0], fence[:, 1]
        self._tool_position = tool_position

    def rest(self, angles: FloatArray) -> FloatArray:
        """The goal (J,) that keeps an arm at measured angles (J,)."""
        return np.clip(angles, self._low, self._high)

    def limit(
        self,
        target: FloatArray,
        goal: FloatArray,
        measured: FloatArray,
        seconds: float,
        *,
        slow: bool = False,
    ) -> FloatArray:
        """The next goal on the way to a target.

        Args:
            target: rad (J,), what is wanted; a value that is not finite is not followed at all.
            goal: rad (J,), what was sent last.
            measured: rad (J,).
            seconds: Since then.
            slow: Not faster than the start speed.

        Returns:
            rad (J,): within the joints' limits, no further from the last goal than the speed
            allows, no further ahead of the measured angles than `max_lag`, and not beyond the
            fence.
        """
        if not np.isfinite(target).all():
            return goal
        step = np.clip(target, self._low, self._high) - goal
        reach = (self._start_speed if slow else self._speed) * seconds
        # All joints are slowed alike, so that the way stays the same.
        excess = float(np.max(np.abs(step) / reach, initial=1.0)) if seconds > 0.0 else np.inf
        wanted = goal + step / excess
        wanted = np.clip(wanted, measured - self._max_lag, measured + self._max_lag)
        wanted = np.clip(wanted, self._low, self._high)
        outside = self._beyond_fence(wanted)
        if outside > FENCE_TOLERANCE and outside >= self._beyond_fence(goal):
            return goal
        return wanted

    def beyond_limits(self, angles: FloatArray) -> str:
        """Why an arm at measured angles (J,) cannot be held, in one sentence; empty: it can."""
        wrong = np.flatnonzero((angles < self._low - OUTSIDE) | (angles > self._high + OUTSIDE))
        if not len(wrong):
            return ''
        joint = self._joints[wrong[0]]
        return (
            f"joint '{joint.name}' stands at {angles[wrong[0]]:.2f} rad, outside of its limits "
            f'{joint.low:g} to {joint.high:g}; move it by hand, or correct its offset'
        )

    def _beyond_fence(self, angles: FloatArray) -> float:
        """m, how far the tool is outside."""
        place = self._tool_position(angles)
        outside = np.maximum(self._fence_low - place, place - self._fence_high)
        return float(np.max(outside, initial=0.0))


def _countable_limits(config: ArmConfig) -> tuple[FloatArray, FloatArray]:
    """The joints' limits as far as whole counts of the servos lie within them."""
    ends = []
    for joint in config.joints:
        counts = sorted((joint.count_of(joint.low), joint.count_of(joint.high)))
        inner = [
            count
            for count in (counts[0], counts[0] + 1, counts[1] - 1, counts[1])
            if joint.low <= joint.angle_of(count) <= joint.high
        ]
        angles = [joint.angle_of(count) for count in inner]
        ends.append((min(angles), max(angles)))
    limits = np.array(ends)
    return limits[:, 0], limits[:, 1]


class ServoWatch:
    """What all who look at an arm's servos need: its limits, and how long each was at its current.

    Args:
        config: Limits and names.
    """

    def __init__(self, config: ArmConfig) -> None:
        self._config = config
        self._limits = config.limits
        self._currents = np.array([joint.current_limit or np.inf for joint in config.joints])
        self._speeds = config.max_speed * config.limits.overspeed
        self._strained = np.zeros(len(config.joints))

    def forget(self) -> None:
        """The arm begins anew."""
        self._strained[:] = 0.0

    def who(self, joint: int) -> str:
        """What sentences call a joint's servo."""
        return f'servo {self._config.servos[joint]} ({self._config.names[joint]})'

    def _strained_joints(self, over: NDArray[np.bool_], seconds: float) -> NDArray[np.intp]:
        """Those that have been over their current for too long; `over` (J,) are it now."""
        self._strained = np.where(over, self._strained + seconds, 0.0)
        return np.flatnonzero(self._strained > self._limits.overcurrent_time)


class HealthWatch(ServoWatch):
    """What stops an arm, and what takes its torque off.

    Args:
        config: Limits and names.
        gripping: The gripper is commanded: it holds a thing with all of its current, for as long as
            its own servo and its temperature allow.
    """

    def __init__(self, config: ArmConfig, *, gripping: bool = False) -> None:
        super().__init__(config)
        if gripping and config.gripper is not None:
            self._currents[config.names.index(config.gripper.joint)] = np.inf

    def fault(self, measured: Measured, seconds: float) -> str:
        """Why the torque has to go off; empty: it need not.

        Args:
            seconds: Since the last look.
        """
        hot = np.flatnonzero(measured.temperatures >= self._limits.temperature)
        if len(hot):
            return (
                f'{self.who(int(hot[0]))} is at {measured.temperatures[hot[0]]:.0f} degC, the '
                f'limit is {self._limits.temperature:.0f}; let it cool, then reset the arm'
            )
        with np.errstate(invalid='ignore'):
            full = np.abs(measured.currents) >= FULL_CURRENT * self._currents
        strained = self._strained_joints(full, seconds)
        if len(strained):
            joint = int(strained[0])
            return (
                f'{self.who(joint)} has needed {abs(measured.currents[joint]):.2f} A, all that it '
                f'may, for {self._limits.overcurrent_time:g} s; look what blocks it, then reset '
                'the arm'
            )
        return ''

    def stop(self, measured: Measured) -> str:
        """Why the arm has to stop where it is; empty: it need not."""
        fast = np.flatnonzero(np.abs(measured.speeds) > self._speeds)
        if len(fast):
            joint = int(fast[0])
            return (
                f'{self.who(joint)} turned at {abs(measured.speeds[joint]):.2f} rad/s, the limit '
                f'is {self._speeds[joint]:.2f}'
            )
        return ''
