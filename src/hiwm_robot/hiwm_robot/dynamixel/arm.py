# SPDX-License-Identifier: Apache-2.0
"""An arm of servos: set-up, and one turn of its control loop.

Set-up, in this order: torque off, bus watchdog off; operating mode (which resets gains and goal),
position and current limits, return delay; gains; bus watchdog; goal = present; torque on. A turn:
read every servo's state, watch it, choose a goal, limit it, send it. All of it belongs to one
thread; a wish (hold, stop, reset) is granted when the next turn begins.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_robot.dynamixel.arm_command import CommandFollower
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_phase import DRIVEN, ArmEvent, ArmPhase, after, refusal
from hiwm_robot.dynamixel.arm_safety import GoalLimiter, HealthWatch, Measured
from hiwm_robot.dynamixel.arm_servos import ArmServos
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.command_space import CommandSpace
from hiwm_robot.dynamixel.control_table import error_words
from hiwm_robot.dynamixel.kinematics import Kinematics
from hiwm_robot.dynamixel.port import PortLostError

FloatArray = NDArray[np.float64]

# Of the bus watchdog's time without a whole exchange, after which it may have tripped.
WATCHDOG_DOUBT = 0.5
KEPT_TIMES = 6000
# s at the end, for servos that do not say that their torque is off.
LAST_TRIES = 3.0


def fenced_chain(config: ArmConfig) -> Kinematics:
    """The chain to the tool that the fence is about.

    Raises:
        ConfigurationError: A joint moves something else, which no fence would hold.
    """
    chain = Kinematics(config.urdf, config.names, config.tool)
    gripper = config.gripper.joint if config.gripper is not None else ''
    if outside := [name for name in chain.aside if name != gripper]:
        raise ConfigurationError(
            f"the arm '{config.name}' has the joint '{outside[0]}', which does not move its tool "
            f"'{config.tool}': no fence would hold what it moves; give each arm a file of its own"
        )
    return chain


class Arm:
    """One arm.

    Args:
        config: What it is.
        bus: Its servos.
        space: What commands mean.
        period: s, between commands; a goal takes as long to get to a command.
        dry_run: Everything but torque.
        clock: s, steady.
        sleep: Waits so many s.

    Attributes:
        phase: What it is doing.
        message: One sentence on why it is stopped or at fault, or, once it is closed, on what may
            still have torque; else empty.
        measured: The newest measurement; None before the first.
        goal: rad (J,), what was sent last; None before the first.
        answer_times: s from a command to the first goal on its way, the newest ones.
        missed: Turns of the loop in which a servo's state could not be read, or no goal be sent.
    """

    def __init__(
        self,
        config: ArmConfig,
        bus: ServoBus,
        space: CommandSpace,
        *,
        period: float,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self.phase = ArmPhase.OFF
        self.message = ''
        self.measured: Measured | None = None
        self.goal: FloatArray | None = None
        self.answer_times: deque[float] = deque(maxlen=KEPT_TIMES)
        self.missed = 0
        self._servos = ArmServos(config, bus, sleep)
        self._space = space
        self._dry_run = dry_run
        self._clock = clock
        self._limiter = GoalLimiter(config, fenced_chain(config).tool_position)
        self._follower = CommandFollower(space, self._limiter, period, 2.0 / config.rate)
        self._health = HealthWatch(config, gripping=space.grips)
        self._wishes: list[ArmEvent] = []
        self._stop_reason = ''
        self._measured_at = self._sent_at = self._ticked_at = clock()
        self._doubtful = False
        self._turn = 1.0 / config.rate  # s

    # -- what is asked and wished ----------------------------------------------------------------

    @property
    def stop_reason(self) -> str:
        """Why an emergency stop is set, or about to be; empty: none is."""
        return self._stop_reason

    @property
    def told(self) -> str:
        """`message`, and which servos may still have torque though none is to have any."""
        stiff = self._servos.stiff
        return self.message if stiff in self.message else f'{self.message}; {stiff}'.lstrip('; ')

    @property
    def refusal(self) -> str:
        """Why it takes no commands now, in one sentence; empty: it does."""
        return refusal(self.config.name, self.phase, self.message, self._stop_reason)

    def command(self, values: FloatArray, arrived: float | None = None) -> None:
        """Go there within a period, as fast and as far as the limits allow.

        Args:
            values: (A,), finite.
            arrived: s, when it came; None: now.

        Raises:
            HiwmError: NOT_READY: it takes no commands now; the sentence says why.
        """
        if self.refusal or self.goal is None:
            raise HiwmError(self.refusal, ErrorCode.NOT_READY)
        # A hold that was wished before it is over.
        self._wishes = [wish for wish in self._wishes if wish is not ArmEvent.SILENCE]
        self._follower.take(values, self.goal, self._clock() if arrived is None else arrived)

    def hold(self) -> None:
        """Hold the measured position, at once."""
        self._wishes.append(ArmEvent.SILENCE)

    def stop(self, reason: str) -> None:
        """Emergency stop, until `reset_stop`; `reason` is one sentence."""
        if not self._stop_reason:
            self._stop_reason = reason
        self._wishes.append(ArmEvent.STOP)

    def reset_stop(self) -> None:
        """Take an emergency stop back; the arm begins slowly."""
        self._stop_reason = ''
        self._wishes.append(ArmEvent.RESET)

    def recover(self) -> None:
        """After a fault: open the port again if need be, set everything up, torque on."""
        if self.phase is ArmPhase.FAULT:
            self._wishes.append(ArmEvent.RECOVER)

    def executed(self) -> FloatArray | None:
        """What the servos were sent, in the task's values (A,); None before the first goal."""
        return self._follower.executed(self.goal)

    def values(self) -> FloatArray | None:
        """What is measured, in the task's values (A,); None before the first."""
        return None if self.measured is None else self._space.to_values(self.measured.angles)

    # -- set-up and end --------------------------------------------------------------------------

    def connect(self) -> None:
        """Open the port, look who is there, and set every servo up, without torque.

        Raises:
            ConfigurationError: The port, a servo or its model is not as the file says.
        """
        try:
            self._set_up()
        except HiwmError as error:
            self._servos.close()
            raise ConfigurationError(error.message) from error

    def enable(self) -> None:
        """Set everything up again, then torque on, at the measured position.

        Raises:
            ConfigurationError: It is at fault, an emergency stop is set, the port or a servo is
                not as it was, or a joint stands where it cannot be held.
        """
        if self.phase is ArmPhase.FAULT:
            raise ConfigurationError(
                f'{self.message}; an arm that is not active is configured anew for that'
            )
        try:
            # Nobody has looked meanwhile: a supply may have been off, a cable pulled.
            self._servos.close()
            self._set_up()
            self._enable()
        except (BusError, PortLostError) as error:
            self._servos.torque_off.begin()
            raise ConfigurationError(error.message) from error

    def disable(self) -> None:
        """Torque off; the port stays open."""
        self._servos.torque_off.begin()
        self._go(ArmEvent.DISABLE, '')

    def close(self) -> None:
        """Torque off and the port closed, whatever happens on the way.

        Servos that do not answer are told again for `LAST_TRIES`; `message` names those that could
        not be told.
        """
        try:
            self._servos.torque_off.finish(self._clock, LAST_TRIES)
        finally:
            self._servos.close()
            self.phase, self.message = ArmPhase.OFF, self._servos.stiff

    def _set_up(self) -> None:
        self._servos.set_up()
        self.measured = self._servos.read_patiently()
        self._measured_at = self._clock()

    def _enable(self) -> None:
        if self._stop_reason:
            raise ConfigurationError(
                f'the emergency stop is set ({self._stop_reason}); reset it first'
            )
        self._torque_on()
        self._go(ArmEvent.ENABLE, '')

    # -- one turn --------------------------------------------------------------------------------

    def tick(self, listen: Callable[[], object] = lambda: None) -> None:
        """One turn of the control loop; every fault ends in a phase and a sentence, never here.

        Args:
            listen: Called between measuring and choosing a goal: what is commanded there is
                answered by this turn's goal.
        """
        now = self._clock()
        elapsed, self._ticked_at = now - self._ticked_at, now
        try:
            self._grant_wishes()
            self._servos.torque_off.go_on(now)
            if self.phase is ArmPhase.OFF or not self._servos.is_open:
                return
            if elapsed > WATCHDOG_DOUBT * self.config.limits.bus_watchdog:
                self._doubtful = True
            measured = self._try_to_measure()
            if measured is None:
                return
            if self._doubtful and self.phase is not ArmPhase.FAULT:
                self._rearm()
            listen()
            self._watch(measured, elapsed)
            if self.phase in DRIVEN or self.phase is ArmPhase.STOPPED:
                self._drive(measured, elapsed)
                with suppress(BusError):
                    self._servos.look_at_next()
        except PortLostError as error:
            self._fail(error.message)
            self._servos.close()
        except HiwmError as error:
            self._fail(error.message)
        except Exception as error:
            self._fail(f"the arm's control loop failed: {error!r}; reset the arm")

    # -- wishes ----------------------------------------------------------------------------------

    def _grant_wishes(self) -> None:
        wishes, self._wishes = self._wishes, []
        for wish in wishes:
            if wish is ArmEvent.STOP:
                self._stop_now()
            elif wish is ArmEvent.SILENCE:
                self._hold_now()
            elif wish is ArmEvent.RESET and self.phase is ArmPhase.STOPPED:
                self._start_again()
            elif wish is ArmEvent.RECOVER and self.phase is ArmPhase.FAULT:
                self._recover_now()

    def _stop_now(self) -> None:
        if self.phase not in DRIVEN:
            return
        self._go(ArmEvent.STOP, self._stop_reason)
        if self.config.limits.stop_torque == 'release':
            self._servos.torque_off.begin()
        else:
            self._rest_at_measured()

    def _start_again(self) -> None:
        if self.config.limits.stop_torque == 'release':
            self._torque_on()
        else:
            self._rest_at_measured()
        self._health.forget()
        self._go(ArmEvent.RESET, '')

    def _recover_now(self) -> None:
        self._go(ArmEvent.RECOVER, '')
        self._servos.close()
        self._set_up()
        self._enable()

    def _hold_now(self) -> None:
        if self.phase in DRIVEN:
            if not self._follower.waits or self.phase is ArmPhase.FOLLOWING:
                self._rest_at_measured(gripping=True)
            self._go(ArmEvent.SILENCE, '')

    def _try_to_measure(self) -> Measured | None:
        """The newest measurement; None if it failed now, for which the last goal stays as it is."""
        try:
            measured = self._servos.read()
        except BusError as error:
            self.missed += 1
            blind = self._clock() - self._measured_at
            if blind > WATCHDOG_DOUBT * self.config.limits.bus_watchdog:
                self._doubtful = True
            if blind > self.config.limits.watchdog and self.phase is not ArmPhase.FAULT:
                self._fail(f'{error.message}; then reset the arm')
            return None
        self.measured = measured
        self._measured_at = self._clock()
        return measured

    def _watch(self, measured: Measured, elapsed: float) -> None:
        if self.phase is ArmPhase.FAULT:
            return
        alerts = np.flatnonzero(measured.alerts)
        if len(alerts):
            joint = int(alerts[0])
            bits = self._servos.hardware_error(joint)
            self._fail(
                f'{self._health.who(joint)} reports a hardware error: '
                f'{error_words(bits) or bits}; look to it, then reset the arm'
            )
            return
        if fault := self._health.fault(measured, elapsed):
            self._fail(fault)
        elif self.phase in DRIVEN and (reason := self._health.stop(measured)):
            self.stop(reason)
            self._grant_wishes()

    def _drive(self, measured: Measured, elapsed: float) -> None:
        """Choose, limit and send the next goal."""
        assert self.goal is not None
        now, follower = self._clock(), self._follower
        if self.phase not in DRIVEN:
            follower.forget()
        # In the next turn it would be too late.
        if follower.age(now) > self.config.limits.watchdog - self._turn:
            self._hold_now()
        if not follower.waits:
            self._go(ArmEvent.COMMAND, '')
            slow = self.phase is ArmPhase.STARTING
            self.goal, aligned = follower.next_goal(
                self.goal, measured.angles, elapsed, now, slow=slow
            )
            if aligned:
                self._go(ArmEvent.ALIGNED, '')
        self._send()
        follower.note_sent(self._clock(), self.answer_times.append)

    def _send(self) -> None:
        """The goal to the servos; one that is lost is sent again in the next turn."""
        assert self.goal is not None
        try:
            self.goal = self._servos.send(self.goal)
            self._sent_at = self._clock()
        except BusError as error:
            self.missed += 1
            if self._clock() - self._sent_at > self.config.limits.watchdog:
                self._fail(f'{error.message}; then reset the arm')

    def _rearm(self) -> None:
        """The bus was silent for long: a servo that has stopped by itself is told to go on."""
        if self._servos.rearm_watchdogs():
            self._rest_at_measured()
            self._go(ArmEvent.SILENCE, '')
        self._doubtful = False

    def _rest_at_measured(self, *, gripping: bool = False) -> None:
        """Forget the command; from now on the goal is where the arm is.

        Args:
            gripping: The gripper keeps its goal, and with it what it holds.
        """
        self._follower.forget()
        if self.measured is None:
            return
        before, self.goal = self.goal, self._limiter.rest(self.measured.angles)
        if gripping and before is not None and self.config.gripper is not None:
            column = self.config.names.index(self.config.gripper.joint)
            self.goal[column] = before[column]

    def _torque_on(self) -> None:
        measured = self.measured = self._servos.read_patiently()
        if wrong := self._limiter.beyond_limits(measured.angles):
            raise ConfigurationError(wrong)
        goal = self._limiter.rest(measured.angles)
        self._servos.torque_on(goal, dry_run=self._dry_run)
        self._follower.forget()
        self._health.forget()
        self.goal = self._servos.send(goal)
        self._ticked_at = self._measured_at = self._sent_at = self._clock()
        self._doubtful = False

    def _fail(self, sentence: str) -> None:
        if self.phase is ArmPhase.FAULT:
            return
        self._go(ArmEvent.FAULT, sentence)
        self._follower.forget()
        self._servos.torque_off.begin()

    def _go(self, event: ArmEvent, message: str) -> None:
        following = after(self.phase, event)
        if following is not self.phase:
            self.message = message
        self.phase = following
