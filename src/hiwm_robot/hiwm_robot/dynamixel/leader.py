# SPDX-License-Identifier: Apache-2.0
"""A leader arm that a person moves: servos without torque, or such that bear the arm's own weight,
and a trigger that is its dead-man.

Whatever is wrong with an arm that is borne, its servos let go and stay so until they are told to
bear it again; a person's hand is on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_safety import Measured
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.command_space import CommandSpace
from hiwm_robot.dynamixel.control_table import error_words
from hiwm_robot.dynamixel.gravity import GravityCompensation
from hiwm_robot.dynamixel.leader_phase import LeaderEvent, LeaderPhase, after
from hiwm_robot.dynamixel.leader_servos import LeaderServos
from hiwm_robot.dynamixel.leader_watch import LeaderWatch
from hiwm_robot.dynamixel.port import REOPEN_PERIOD

FloatArray = NDArray[np.float64]

# s without a reading, after which the arm counts as out of hand.
STALE = 0.2
RAMP = 0.5  # s in which the currents rise, so that a hand feels them come
# Of the bus watchdog's time without a reading, after which it may have tripped.
WATCHDOG_DOUBT = 0.5
STOPPED = 'the emergency stop is set; reset it'


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
    """One leader arm.

    Its attributes, `pose`, `bear` and `stop` are for any thread, all else is for one.

    Args:
        config: Its file, which is its calibration.
        bus: Its servos.
        space: What its joints mean to the task.
        compensation: What bears it; None: nothing can.
        clock: s, steady.
        sleep: Waits so many s.

    Attributes:
        config: Its file.
        sentence: Why there is no pose; empty: there is one.
        phase: What bears it.
        message: Why nothing does although something was to; empty otherwise.
        measured: The newest reading; None before the first.
        needed: A (J,), what bearing it takes, whether it may be had or not; None: it is not borne.
    """

    def __init__(
        self,
        config: ArmConfig,
        bus: ServoBus,
        space: CommandSpace,
        compensation: GravityCompensation | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self.sentence = ''
        self.phase = LeaderPhase.LIMP
        self.message = ''
        self.measured: Measured | None = None
        self.needed: FloatArray | None = None
        self._servos = LeaderServos(config, bus, sleep)
        self._space = space
        self._compensation = compensation
        self._watch = LeaderWatch(config)
        self._clock = clock
        self._pose: LeaderPose | None = None
        self._tried_at = -np.inf
        self._measured_at = self._sent_at = self._borne_at = clock()
        self._wish: LeaderEvent | None = None
        self._stopped = False

    @property
    def pose(self) -> LeaderPose | None:
        """The newest pose; None if it is older than `STALE`."""
        pose = self._pose
        return pose if pose is not None and self._clock() - pose.read_at <= STALE else None

    def bear(self, on: bool) -> None:
        """From the next reading on, let the servos bear the arm, or let go of it.

        Raises:
            HiwmError: NOT_SUPPORTED: nothing was given that could bear it. NOT_READY: an emergency
                stop is set.
        """
        if on and self._stopped:
            raise HiwmError(STOPPED, ErrorCode.NOT_READY)
        if on and self._compensation is None:
            raise HiwmError(
                f"the leader '{self.config.name}' was started without gravity compensation; start "
                'it with gravity_compensation:=true',
                ErrorCode.NOT_SUPPORTED,
            )
        self._wish = LeaderEvent.ENABLE if on else LeaderEvent.DISABLE

    def stop(self, on: bool) -> None:
        """An emergency stop is set, or no longer: while it is, nothing bears the arm.

        Its own current may be what somebody wants to stop.
        """
        self._stopped = on

    def connect(self) -> None:
        """Open the port, look who is there, and take the torque off.

        Raises:
            ConfigurationError: The port, a servo or its model is not as the file says.
        """
        try:
            self._servos.set_up()
        except ConfigurationError:
            self._servos.close()
            raise
        except HiwmError as error:
            self._servos.close()
            raise ConfigurationError(error.message) from error

    def read(self) -> None:
        """Take a reading and bear the arm by it; a port that was lost is opened when it is back."""
        now = self._clock()
        if self._stopped:
            self._obey_stop()
        try:
            if not self._servos.is_open:
                if now - self._tried_at < REOPEN_PERIOD:
                    return
                self._tried_at = now
                self.connect()
            self._servos.finish_torque_off(now)
            measured = self._servos.read()
        except BusError as error:
            self.sentence = error.message
            stale = now - self._measured_at > self.config.limits.watchdog
            if stale and self.phase is LeaderPhase.BORNE:
                self._let_go(error.message)
            return
        except HiwmError as error:
            self.sentence = error.message
            if self.phase is LeaderPhase.BORNE:
                self._let_go(error.message)
            self._servos.close()
            return
        blind, self._measured_at = self._clock() - self._measured_at, self._clock()
        self.measured = measured
        self._pose = self._pose_of(measured)
        self.sentence = ''
        try:
            if self._wish is not None:
                self._grant_wish(measured)
            elif self.phase is LeaderPhase.BORNE:
                self._bear(measured, blind)
        except HiwmError as error:
            self._let_go(error.message)
            if not isinstance(error, BusError):
                self.sentence = error.message
                self._servos.close()

    def close(self) -> None:
        """Torque off and the port closed, whatever happens on the way."""
        try:
            if self._compensation is not None:
                self._servos.torque_off()
        finally:
            self._servos.close()
            self._go(LeaderEvent.DISABLE, '')

    # -- what bears it ---------------------------------------------------------------------------

    def _obey_stop(self) -> None:
        if self._wish is LeaderEvent.ENABLE:
            self._wish = None
        if self.phase is LeaderPhase.BORNE:
            self._let_go(STOPPED)

    def _grant_wish(self, measured: Measured) -> None:
        wish, self._wish = self._wish, None
        if wish is LeaderEvent.DISABLE:
            self._servos.torque_off()
            self._go(wish, '')
        elif wish is LeaderEvent.ENABLE and self.phase is not LeaderPhase.BORNE:
            assert self._compensation is not None
            self._watch.forget()
            if fault := self._watch.fault(measured, 0.0):
                self._let_go(fault)
                return
            limits = [int(limit) for limit in self._compensation.limits]
            self._servos.torque_on(self._compensation.driven, limits)
            # What was measured before is old by now; the next reading is borne.
            self._measured_at = self._sent_at = self._borne_at = self._clock()
            self._go(wish, '')

    def _bear(self, measured: Measured, blind: float) -> None:
        assert self._compensation is not None
        if fault := self._fault(measured, blind):
            self._let_go(fault)
            return
        share = min(1.0, max(0.0, self._clock() - self._borne_at) / RAMP)
        self.needed = self._compensation.currents(measured.angles)
        goals = self._compensation.goals(share * self.needed)
        try:
            self._servos.send(self._compensation.driven, goals)
            self._sent_at = self._clock()
        except BusError:
            if self._clock() - self._sent_at > self.config.limits.watchdog:
                raise

    def _fault(self, measured: Measured, blind: float) -> str:
        """Why the servos have to let go; empty: they need not. Raises BusError, PortLostError."""
        assert self._compensation is not None
        alerts = np.flatnonzero(measured.alerts)
        if len(alerts):
            joint = int(alerts[0])
            bits = self._servos.hardware_error(joint)
            return (
                f'{self._watch.who(joint)} reports a hardware error: {error_words(bits) or bits}; '
                'look to it'
            )
        if blind > WATCHDOG_DOUBT * self.config.limits.bus_watchdog:
            tripped = self._servos.tripped(self._compensation.driven)
            if tripped is not None:
                return (
                    f'{self._watch.who(tripped)} heard nothing for '
                    f'{self.config.limits.bus_watchdog:g} s and let go by itself; look what keeps '
                    'this computer or its port busy'
                )
        return self._watch.fault(measured, blind)

    def _let_go(self, reason: str) -> None:
        """Torque off, for a reason that a person is told."""
        self._wish = None
        self._servos.torque_off()
        self._go(
            LeaderEvent.FAULT,
            f"the leader '{self.config.name}' is limp, for {reason}; then switch its compensation "
            'on again',
        )

    def _go(self, event: LeaderEvent, message: str) -> None:
        self.phase = after(self.phase, event)
        self.message = message
        self.needed = None

    def _pose_of(self, measured: Measured) -> LeaderPose:
        angles = measured.angles
        gripper = self.config.gripper
        opening = np.nan
        if gripper is not None:
            opening = gripper.opening_of(angles[self.config.names.index(gripper.joint)])
        return LeaderPose(self._space.to_values(angles), float(opening), self._measured_at)


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
