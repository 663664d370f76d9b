# SPDX-License-Identifier: Apache-2.0
"""An arm in whose bus and session faults are made, and what must hold through every one of them.

Each fault is made while the policy drives. Goals are asked of the servos themselves: none lies
outside of its joint's limits, and after a fault that silences commands, bus or servo none changes
any more. The diagnostics name the servo that a fault is about. Whatever ends the session, no servo
has torque afterwards, or, where no word reached it, it has stopped by its own watchdog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import os
from pathlib import Path
import random
import signal
import time

from std_srvs.srv import Trigger

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_rig.conversion import nanoseconds_of
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from test.dynamixel_session import DynamixelSession, dynamixel_session
from test.probe import PATIENCE, Probe

LOOK = 0.05  # s
# Of the watchdog, for which no goal may have changed, so that the arm counts as held.
QUIET = 1.5
ROUNDING = 1e-9  # rad
# How often a fault is made anew that met an arm which a busy machine had just stopped.
TRIES = 5
LOOP = 'control_loop'
# Killed, nobody commands the arm from that moment on.
SILENCE = ('action_mux', 'dynamixel_arm', LOOP)
SHUTDOWN_BITS = (32, 16, 4)


class AlreadyStoppedError(Exception):
    """The arm had stopped for another reason before the fault was made."""


@dataclass(frozen=True)
class Seen:
    """What a fault led to.

    Attributes:
        fault: Its kind.
        hold: s until the last goal that changed; None: nothing had to be held.
    """

    fault: str
    hold: float | None = None


@dataclass
class FaultyArm:
    """Sessions one after the other, each until a fault ends it.

    Args:
        folder: For their logs and records.
        probe: Hears everything.
        arm: The arm's file.
        seed: Of kinds, places and moments.
        ending: Share of the faults that end the session.

    Attributes:
        seen: Every fault so far.
        goals: How many answers of the servos about their goals were looked at.
        repeated: Faults that met an arm which had just stopped.
    """

    folder: Path
    probe: Probe
    arm: Path
    seed: int = 0
    ending: float = 0.02
    seen: list[Seen] = field(default_factory=list)
    goals: int = 0
    repeated: int = 0

    def __post_init__(self) -> None:
        self.config: ArmConfig = read_arm(self.arm)
        self.draw = random.Random(self.seed)
        self.sessions = 0
        self.session: DynamixelSession

    def run(self, count: int, tell: Callable[[Seen], object] = lambda seen: None) -> None:
        """Make so many faults. Raises AssertionError where something does not hold.

        Args:
            tell: Called after each.
        """
        wanted = len(self.seen) + count
        while len(self.seen) < wanted:
            with self.life():
                ended = False
                while len(self.seen) < wanted and not ended:
                    ended = self.draw.random() < self.ending
                    kinds = ENDS if ended else FAULTS
                    self.make(self.draw.choice(list(kinds)))
                    tell(self.seen[-1])
                if not ended:
                    self.make('interrupt the session')
                    self.seen.pop()

    def make(self, kind: str) -> None:
        """One fault, from a driven arm to a driven arm, or to the session's end."""
        for _ in range(TRIES):
            self._go_on()
            try:
                (FAULTS | ENDS)[kind](self)
            except AlreadyStoppedError:
                self.repeated += 1
                self._mend()
                continue
            if kind in FAULTS:
                self._mend()
            self._check_goals()
            self._forget()
            return
        raise AssertionError(f'{kind}: the arm keeps stopping: {self.session.words()}')

    # -- sessions --------------------------------------------------------------------------------

    @contextmanager
    def life(self) -> Iterator[None]:
        """A session, for the length of a block."""
        self.sessions += 1
        folder = self.folder / f'session_{self.sessions}'
        with dynamixel_session(self.probe, self.arm, folder) as self.session:
            yield
        text = self.session.process.text
        told = [
            line for line in text.splitlines() if line.startswith(('[dynamixel', '[action_mux'))
        ]
        assert not any('Traceback' in line for line in told), text[-4000:]

    def _go_on(self) -> None:
        self.session.go_on(2.0 * PATIENCE)
        self._check_goals()

    def _forget(self) -> None:
        """Keep no more of what was heard than is looked at."""
        for messages in self.probe.messages.values():
            del messages[:-20]

    def _mend(self) -> None:
        servos = self.session.servos
        for line in ('latency 0', 'drop 0', 'damage 0', 'plug'):
            servos.tell(line)
        for number in self.config.servos:
            servos.tell(f'find {number}')
            servos.tell(f'load {number} 0')
            servos.tell(f'heat {number} 25')

    # -- what is looked at -----------------------------------------------------------------------

    def _check_goals(self) -> float:
        """No goal lies outside of its joint's limits; s since one changed."""
        told = self.session.servos.ask('goals')
        for joint in self.config.joints:
            servo = told[str(joint.servo)]
            for goal in (servo['lowest'], servo['highest']):
                if goal is None:
                    continue
                angle = joint.direction * (goal - joint.offset)
                assert joint.low - ROUNDING <= angle <= joint.high + ROUNDING, (
                    f"joint '{joint.name}' was sent to {angle:.4f} rad, outside of its limits"
                )
        self.goals += 1
        return float(min(servo['age'] for servo in told.values()))

    def _holds_since(self, fault_at: float, extra: float = 0.0) -> float:
        """Wait until no goal changes any more; s from the fault (and `extra`) to the last change.

        Args:
            fault_at: s, steady.
        """
        quiet = QUIET * self.config.limits.watchdog
        deadline = time.monotonic() + PATIENCE
        while True:
            asked = time.monotonic()
            age = self._check_goals()
            if age > quiet and asked - fault_at > quiet:
                return max(0.0, asked - age - fault_at - extra)
            assert asked < deadline, f'goals go on changing: {self.session.words()}'
            time.sleep(LOOK)

    def _is_named(self, servo: int, words: str) -> None:
        """Wait until the diagnostics name a servo as the one with the fault.

        Args:
            words: That only a fault of this kind has in its sentence; empty: there are none.
        """
        name = f'servo {servo} ('
        messages = self.probe.messages[contract.DIAGNOSTICS.name]
        first = len(messages)

        def told() -> str:
            for array in messages[first:]:
                for status in array.status:
                    at_fault = int.from_bytes(status.level, 'little') == 2
                    if at_fault and status.name.endswith(': arm'):
                        return str(status.message)
            return ''

        try:
            sentence = self.probe.until(told, f'the diagnostics name servo {servo}')
        except AssertionError as error:
            raise AssertionError(f'{error}: {self.session.words()}') from error
        if name not in sentence:
            # Nobody has made another servo's fault of this kind.
            assert not words or words not in sentence, f'not servo {servo}: {sentence}'
            raise AlreadyStoppedError(sentence)

    def note(self, fault: str, hold: float | None = None) -> None:
        """A fault was seen to its end."""
        self.seen.append(Seen(fault, hold))

    def wait(self, shortest: float, longest: float) -> None:
        """So many s, drawn."""
        time.sleep(self.draw.uniform(shortest, longest))

    def servo(self) -> int:
        """An id, drawn."""
        return self.draw.choice(self.config.servos)

    def process_id(self, name: str) -> int:
        """Of a node of the session, or of the arm's control loop."""
        if name == LOOP:
            for number, command in self.session.process.running().items():
                if any(LOOP in word for word in command):
                    return number
            raise AssertionError('there is no control loop')
        return self.session.process.nodes()[name]

    def last_command(self) -> float:
        """s, steady: when somebody commanded a motion last."""
        now = int(self.probe.node.get_clock().now().nanoseconds)
        for message in reversed(self.probe.messages[contract.ACTION.name]):
            if message.source != Source.HOLD:
                return time.monotonic() - (now - nanoseconds_of(message.header.stamp)) / 1e9
        return time.monotonic()

    # -- kinds of faults -------------------------------------------------------------------------

    def on_wire(self, what: str, low: float, high: float) -> None:
        """Packets are late, lost or damaged for a while; the arm may go on, or stop."""
        self.session.servos.tell(f'{what} {self.draw.uniform(low, high):.4f}')
        self.wait(0.1, 0.8)
        self.note(what)

    def on_servo(
        self, kind: str, line: Callable[[int], str], extra: float = 0.0, words: str = ''
    ) -> None:
        """A servo's own fault, by which the torque goes off; it is named."""
        servo = self.servo()
        began = time.monotonic()
        self.session.servos.tell(line(servo))
        self._is_named(servo, words)
        hold = self._holds_since(began, extra)
        self._is_limp(deaf={servo} if kind == 'missing' else set())
        self.note(kind, hold)

    def unplug(self) -> None:
        """The port vanishes."""
        began = time.monotonic()
        self.session.servos.tell('unplug')
        hold = self._holds_since(began)
        self._is_limp(deaf=set(self.config.servos))
        self.note('port', hold)

    def press(self) -> None:
        """Somebody presses the emergency stop."""
        client = self.probe.node.create_client(Trigger, '/e_stop_trigger')
        assert client.wait_for_service(timeout_sec=PATIENCE)
        # From here on: finding the service is this process's own business.
        began = time.monotonic()
        client.call_async(Trigger.Request())
        hold = self._holds_since(began)
        self.probe.node.destroy_client(client)
        self.note('emergency stop', hold)

    def freeze(self, name: str) -> None:
        """A process stands still until the arm holds, and goes on."""
        number = self.process_id(name)
        began = time.monotonic()
        os.kill(number, signal.SIGSTOP)
        try:
            hold = self._holds_since(began)
            if name == 'policy':
                # The multiplexer answers for it once more; then it sends holds.
                hold = max(0.0, began + hold - max(began, self.last_command()))
        finally:
            os.kill(number, signal.SIGCONT)
        self.note(f'{name} frozen', hold)

    def end(self, name: str, how: signal.Signals) -> None:
        """A process gets a signal, and the session ends, or is ended where it goes on without."""
        number = self.process_id(name)
        began = time.monotonic()
        os.kill(number, how)
        silences = how is signal.SIGKILL and name in SILENCE
        hold = self._holds_since(began) if silences else None
        session = self.session.process
        if name == 'policy':
            assert session.interrupt(PATIENCE) == 0, session.text
        else:
            session.wait(PATIENCE)
        self._has_ended({*self.config.servos} if name == LOOP else set())
        self.note(f'{name} {how.name}', hold)

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self.session.process.interrupt(PATIENCE) == 0, self.session.process.text
        self._has_ended(set())
        self.note('interrupt')

    def _has_ended(self, deaf: set[int]) -> None:
        """Nothing is left of the session, and no torque."""
        deadline = time.monotonic() + PATIENCE
        while left := self.session.process.left_behind():
            assert time.monotonic() < deadline, left
            time.sleep(LOOK)
        self._is_limp(deaf)

    def _is_limp(self, deaf: set[int]) -> None:
        """No servo has torque, or one that nobody could tell has stopped by itself."""
        deadline = time.monotonic() + PATIENCE
        while True:
            state = self.session.servos.ask('state')
            left = [
                number
                for number, servo in state.items()
                if servo['torque']
                and not (int(number) in deaf and servo['bus_watchdog'] == table.WATCHDOG_TRIPPED)
            ]
            if not left:
                return
            assert time.monotonic() < deadline, f'servos {left} have torque: {self.session.words()}'
            time.sleep(LOOK)


FAULTS: dict[str, Callable[[FaultyArm], None]] = {
    'latency': lambda arm: arm.on_wire('latency', 0.001, 0.05),
    'drop': lambda arm: arm.on_wire('drop', 0.02, 1.0),
    'damage': lambda arm: arm.on_wire('damage', 0.02, 1.0),
    'missing': lambda arm: arm.on_servo('missing', lambda servo: f'miss {servo}'),
    'overload': lambda arm: arm.on_servo(
        'overload',
        lambda servo: f'load {servo} {arm.draw.choice((-1.5, 1.5))}',
        arm.config.limits.overcurrent_time,
        words='all that it may',
    ),
    'heat': lambda arm: arm.on_servo(
        'heat', lambda servo: f'heat {servo} {arm.draw.uniform(66.0, 90.0):.0f}', words='degC'
    ),
    'hardware error': lambda arm: arm.on_servo(
        'hardware error',
        lambda servo: f'fail {servo} {arm.draw.choice(SHUTDOWN_BITS)}',
        words='reports a hardware error',
    ),
    'port': FaultyArm.unplug,
    'emergency stop': FaultyArm.press,
    'policy frozen': lambda arm: arm.freeze('policy'),
    'multiplexer frozen': lambda arm: arm.freeze('action_mux'),
    'arm node frozen': lambda arm: arm.freeze('dynamixel_arm'),
    'control loop frozen': lambda arm: arm.freeze(LOOP),
}
ENDS: dict[str, Callable[[FaultyArm], None]] = {
    'policy killed': lambda arm: arm.end('policy', signal.SIGKILL),
    'multiplexer killed': lambda arm: arm.end('action_mux', signal.SIGKILL),
    'recorder killed': lambda arm: arm.end('recorder', signal.SIGKILL),
    'arm node killed': lambda arm: arm.end('dynamixel_arm', signal.SIGKILL),
    'control loop killed': lambda arm: arm.end(LOOP, signal.SIGKILL),
    'arm node interrupted': lambda arm: arm.end('dynamixel_arm', signal.SIGINT),
    'arm node terminated': lambda arm: arm.end('dynamixel_arm', signal.SIGTERM),
    'interrupt the session': FaultyArm.interrupt,
}
