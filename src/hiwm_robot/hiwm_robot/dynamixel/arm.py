# SPDX-License-Identifier: Apache-2.0
"""An arm of servos: set-up, and one turn of its control loop.

Set-up, in this order: torque off, bus watchdog off; operating mode (which resets gains and goal),
position and current limits, return delay; gains; bus watchdog; goal = present; torque on. A turn:
read every servo's state, watch it, choose a goal, limit it, send it. `tick`, `connect` and `close`
belong to one thread, which alone touches the bus; commands and wishes come from any.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import threading
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.arm_phase import DRIVEN, ArmEvent, ArmPhase, after
from hiwm_robot.dynamixel.arm_safety import GoalLimiter, HealthWatch, Measured
from hiwm_robot.dynamixel.arm_servos import ArmServos
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.command_space import CommandSpace
from hiwm_robot.dynamixel.control_table import error_words
from hiwm_robot.dynamixel.kinematics import Kinematics
from hiwm_robot.dynamixel.port import PortLostError

FloatArray = NDArray[np.float64]

# rad; nearer than this the goal has reached what is commanded.
ALIGNED = 2e-3
# Of the way to a command, from which on it counts that the goal keeps up.
ALIGNED_SHARE = 0.5
# Of the bus watchdog's time without a whole exchange, after which it may have tripped.
WATCHDOG_DOUBT = 0.5
KEPT_TIMES = 6000


@dataclass(eq=False)
class Command:
    """What was asked for last.

    Attributes:
        values: (A,), in the task's order and units.
        start: (A,), where the goal was when it came.
        arrived: s.
        sent: Whether a goal on the way to it has been sent.
        bound: Whether some limit has held a goal back on the way.
    """

    values: FloatArray
    start: FloatArray
    arrived: float
    sent: bool = False
    bound: bool = False


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
        message: One sentence on why it is stopped or at fault; else empty.
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
        self._period = period
        self._dry_run = dry_run
        self._clock = clock
        self._limiter = GoalLimiter(
            config, Kinematics(config.urdf, config.names, config.tool).tool_position
        )
        self._health = HealthWatch(config)
        self._lock = threading.Lock()
        self._command: Command | None = None
        self._wishes: list[ArmEvent] = []
        self._stop_reason = ''
        self._measured_at = self._sent_at = self._ticked_at = clock()
        self._doubtful = False

    # -- from any thread -------------------------------------------------------------------------

    @property
    def stopped(self) -> bool:
        """Whether an emergency stop is set, or about to be."""
        return bool(self._stop_reason)

    @property
    def refusal(self) -> str:
        """Why it takes no commands now, in one sentence; empty: it does."""
        if self.phase in DRIVEN and not self.stopped:
            return ''
        why = self.message or self._stop_reason or 'it has no torque yet'
        return f"the arm '{self.config.name}' takes no commands: {why}"

    @property
    def faulty(self) -> bool:
        """Whether only `recover` helps."""
        return self.phase is ArmPhase.FAULT

    def command(self, values: FloatArray) -> None:
        """Go there within a period, as fast and as far as the limits allow.

        Args:
            values: (A,), finite.

        Raises:
            HiwmError: NOT_READY: it takes no commands now; the sentence says why.
        """
        with self._lock:
            if self.refusal or self.goal is None:
                raise HiwmError(self.refusal, ErrorCode.NOT_READY)
            start = self._space.to_values(self.goal)
            self._command = Command(np.array(values, np.float64), start, self._clock())

    def hold(self) -> None:
        """Hold the measured position, at once."""
        with self._lock:
            self._wishes.append(ArmEvent.SILENCE)

    def stop(self, reason: str) -> None:
        """Emergency stop, until `reset_stop`; `reason` is one sentence."""
        with self._lock:
            if not self._stop_reason:
                self._stop_reason = reason
            self._wishes.append(ArmEvent.STOP)

    def reset_stop(self) -> None:
        """Take an emergency stop back; the arm begins slowly."""
        with self._lock:
            self._stop_reason = ''
            self._wishes.append(ArmEvent.RESET)

    def recover(self) -> None:
        """After a fault: open the port again if need be, set everything up, torque on."""
        with self._lock:
            if self.phase is ArmPhase.FAULT:
                self._wishes.append(ArmEvent.RESET)

    def executed(self) -> FloatArray | None:
        """What the servos were sent, in the task's values (A,); None before the first goal.

        A command that no limit has held back is sent as it is, over one period; of any other, and
        of a hold, it is the newest goal.
        """
        with self._lock:
            command, goal = self._command, self.goal
            if command is not None and command.sent and not command.bound:
                return command.values
            return None if goal is None else self._space.to_values(goal)

    def values(self) -> FloatArray | None:
        """What is measured, in the task's values (A,); None before the first."""
        with self._lock:
            measured = self.measured
            return None if measured is None else self._space.to_values(measured.angles)

    # -- in the loop's thread --------------------------------------------------------------------

    def connect(self) -> None:
        """Open the port, look who is there, and set every servo up, without torque.

        Raises:
            ConfigurationError: The port, a servo or its model is not as the file says.
        """
        try:
            self._servos.set_up()
            self.measured = self._servos.read_patiently()
            self._measured_at = self._clock()
        except (BusError, PortLostError) as error:
            self._servos.close()
            raise ConfigurationError(error.message) from error
        except ConfigurationError:
            self._servos.close()
            raise

    def enable(self) -> None:
        """Torque on, at the measured position.

        Raises:
            ConfigurationError: An emergency stop is set, a joint stands where it cannot be held, or
                a servo does not take the torque.
        """
        if self.stopped:
            raise ConfigurationError(
                f'the emergency stop is set ({self._stop_reason}); reset it first'
            )
        try:
            self._torque_on()
        except (BusError, PortLostError) as error:
            self._servos.torque_off()
            raise ConfigurationError(error.message) from error
        self._go(ArmEvent.ENABLE, '')

    def disable(self) -> None:
        """Torque off; the port stays open."""
        if self._servos.is_open:
            self._servos.torque_off()
        self._go(ArmEvent.DISABLE, '')

    def close(self) -> None:
        """Torque off and the port closed, whatever happens on the way."""
        try:
            self.disable()
        finally:
            self._servos.close()
            self.phase = ArmPhase.OFF

    def tick(self) -> None:
        """One turn of the control loop; every fault ends in a phase and a sentence, never here."""
        now = self._clock()
        elapsed, self._ticked_at = now - self._ticked_at, now
        try:
            self._grant_wishes()
            if not self._servos.is_open or self.phase is ArmPhase.OFF:
                return
            if elapsed > WATCHDOG_DOUBT * self.config.limits.bus_watchdog:
                self._doubtful = True
            measured = self._try_to_measure()
            if measured is None:
                return
            if self._doubtful:
                self._rearm()
            self._watch(measured, elapsed)
            if self.phase in DRIVEN or self.phase is ArmPhase.STOPPED:
                self._drive(measured, elapsed)
        except PortLostError as error:
            self._fail(error.message)
            self._servos.close()
        except BusError as error:
            self._fail(error.message)
        except Exception as error:
            self._fail(f"the arm's control loop failed: {error!r}; reset the arm")

    # -- wishes ----------------------------------------------------------------------------------

    def _grant_wishes(self) -> None:
        with self._lock:
            wishes, self._wishes = self._wishes, []
        for wish in wishes:
            if wish is ArmEvent.STOP:
                self._stop_now()
            elif wish is ArmEvent.SILENCE:
                self._hold_now()
            elif wish is ArmEvent.RESET and self.phase is ArmPhase.STOPPED:
                self._start_again()
            elif wish is ArmEvent.RESET and self.phase is ArmPhase.FAULT:
                self._recover_now()

    def _stop_now(self) -> None:
        if self.phase not in DRIVEN:
            return
        self._go(ArmEvent.STOP, self._stop_reason)
        if self.config.limits.stop_torque == 'release':
            self._servos.torque_off()
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
        self._go(ArmEvent.RESET, '')
        try:
            self._servos.close()
            self.connect()
            self.enable()
        except ConfigurationError as error:
            self._fail(error.message)

    def _hold_now(self) -> None:
        if self.phase in DRIVEN:
            if self._command is not None or self.phase is ArmPhase.FOLLOWING:
                self._rest_at_measured()
            self._go(ArmEvent.SILENCE, '')

    # -- one turn --------------------------------------------------------------------------------

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
        now = self._clock()
        with self._lock:
            command = self._command if self.phase in DRIVEN else None
        if command is not None and now - command.arrived > self.config.limits.watchdog:
            self._hold_now()
            command = None
        if command is not None:
            self._go(ArmEvent.COMMAND, '')
            share = min(1.0, (now - command.arrived) / self._period + 1e-9)
            wanted = command.start + share * (command.values - command.start)
            with self._lock:
                target = self._space.to_angles(wanted, self.goal)
            command.bound |= target is None
            if target is not None:
                self.goal = self._limiter.limit(
                    target,
                    self.goal,
                    measured.angles,
                    min(elapsed, 2.0 / self.config.rate),
                    slow=self.phase is ArmPhase.STARTING,
                )
                aligned = float(np.abs(target - self.goal).max()) < ALIGNED
                command.bound |= not aligned
                if aligned and share > ALIGNED_SHARE:
                    self._go(ArmEvent.ALIGNED, '')
        self._send()
        if command is not None and not command.sent:
            command.sent = True
            self.answer_times.append(self._clock() - command.arrived)

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

    def _rest_at_measured(self) -> None:
        """Forget the command; from now on the goal is where the arm is."""
        with self._lock:
            self._command = None
        if self.measured is not None:
            self.goal = self._limiter.rest(self.measured.angles)

    def _torque_on(self) -> None:
        measured = self.measured = self._servos.read_patiently()
        wrong = self._limiter.beyond_limits(measured.angles)
        if wrong is not None:
            joint = self.config.joints[wrong]
            raise ConfigurationError(
                f"joint '{joint.name}' stands at {measured.angles[wrong]:.2f} rad, outside of its "
                f'limits {joint.low:g} to {joint.high:g}; move it by hand, or correct its offset'
            )
        goal = self._limiter.rest(measured.angles)
        self._servos.torque_on(goal, dry_run=self._dry_run)
        with self._lock:
            self._command = None
        self._health.forget()
        self.goal = self._servos.send(goal)
        self._ticked_at = self._measured_at = self._sent_at = self._clock()

    def _fail(self, sentence: str) -> None:
        if self.phase is ArmPhase.FAULT:
            return
        self._go(ArmEvent.FAULT, sentence)
        with self._lock:
            self._command = None
        self._servos.torque_off()

    def _go(self, event: ArmEvent, message: str) -> None:
        following = after(self.phase, event)
        if following is not self.phase:
            self.message = message
        self.phase = following
