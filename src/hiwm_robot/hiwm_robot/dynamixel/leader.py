# SPDX-License-Identifier: Apache-2.0
"""A leader arm: servos without torque that a person moves, and a trigger that is its dead-man."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.command_space import CommandSpace
from hiwm_robot.dynamixel.control_table import model_name

FloatArray = NDArray[np.float64]

# s without a reading, after which the arm counts as out of hand.
STALE = 0.2
REOPEN_PERIOD = 1.0  # s between attempts to open a port that has vanished


@dataclass(frozen=True, eq=False)
class LeaderPose:
    """Where a person holds the leader.

    Attributes:
        values: (A,), in the task's order and units.
        opening: Of the gripper, 0 (squeezed) to 1; NaN without one.
        read_at: s.
    """

    values: FloatArray
    opening: float
    read_at: float


class Leader:
    """One leader arm; everything but `pose` and `sentence` belongs to one thread.

    Args:
        config: Its file, which is its calibration.
        bus: Its servos.
        space: What its joints mean to the task.
        clock: s, steady.

    Attributes:
        sentence: Why there is no pose; empty: there is one.
    """

    def __init__(
        self,
        config: ArmConfig,
        bus: ServoBus,
        space: CommandSpace,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sentence = ''
        self._config = config
        self._bus = bus
        self._space = space
        self._clock = clock
        self._pose: LeaderPose | None = None
        self._tried_at = -np.inf

    @property
    def pose(self) -> LeaderPose | None:
        """The newest pose; None if it is older than `STALE`."""
        pose = self._pose
        return pose if pose is not None and self._clock() - pose.read_at <= STALE else None

    def connect(self) -> None:
        """Open the port, look who is there, and take the torque off.

        Raises:
            ConfigurationError: The port, a servo or its model is not as the file says.
        """
        try:
            self._bus.open()
            for joint in self._config.joints:
                number = self._bus.ping(joint.servo)
                if number != joint.model.number:
                    raise ConfigurationError(
                        f'servo {joint.servo} ({joint.name}) of the leader is '
                        f'{model_name(number)}, its file says {joint.model.name}; is this the '
                        "follower's port?"
                    )
            for servo in self._config.servos:
                self._bus.write(servo, table.TORQUE_ENABLE, 0)
                if self._bus.read(servo, table.RETURN_DELAY):
                    self._bus.write(servo, table.RETURN_DELAY, 0)
        except ConfigurationError:
            self._bus.close()
            raise
        except HiwmError as error:
            self._bus.close()
            raise ConfigurationError(error.message) from error

    def read(self) -> None:
        """Take a reading; a port that has vanished is opened again when it is back."""
        now = self._clock()
        try:
            if not self._bus.is_open:
                if now - self._tried_at < REOPEN_PERIOD:
                    return
                self._tried_at = now
                self.connect()
            states = self._bus.read_states(self._config.servos)
        except BusError as error:
            self.sentence = error.message
            return
        except HiwmError as error:
            self.sentence = error.message
            self._bus.close()
            return
        angles = np.array(
            [
                joint.angle_of(state.position)
                for joint, state in zip(self._config.joints, states, strict=True)
            ]
        )
        gripper = self._config.gripper
        opening = np.nan
        if gripper is not None:
            opening = gripper.opening_of(angles[self._config.names.index(gripper.joint)])
        self._pose = LeaderPose(self._space.to_values(angles), float(opening), self._clock())
        self.sentence = ''

    def close(self) -> None:
        """Close the port."""
        self._bus.close()


class GripperTrigger:
    """A dead-man from how far a gripper is squeezed; it lets go later than it grips.

    Args:
        below: Opening, 0 to 1, below which it is pressed.
    """

    RELEASE = 0.15  # of the whole opening, beyond `below`

    def __init__(self, below: float) -> None:
        self._below = below
        self._pressed = False

    def level(self, opening: float | None) -> bool:
        """Whether it is pressed; an unknown opening is a release."""
        if opening is None or not np.isfinite(opening):
            self._pressed = False
        elif opening < self._below:
            self._pressed = True
        elif opening > self._below + self.RELEASE:
            self._pressed = False
        return self._pressed


class HeldLevel:
    """A dead-man from repeated samples; silence is a release.

    Args:
        timeout: s.
        clock: s, steady.
    """

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._level = False
        self._heard = -np.inf

    def take(self, level: bool) -> None:
        """A sample has come."""
        self._level, self._heard = level, self._clock()

    def level(self) -> bool:
        """Whether it is pressed."""
        return self._level and self._clock() - self._heard <= self._timeout
