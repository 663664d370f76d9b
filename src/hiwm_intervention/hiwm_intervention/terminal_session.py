# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: what their keys mean, and when they become an action.

A terminal reports presses and repeats, never that a key is let go. A key counts as held for a
moment after each report: a tap is a short move, a held key moves until shortly after its last
repeat. There is no dead-man to press either: it stands for a person who is there, so it falls when
the window loses the focus, or when no key has come for a long time.
"""

from __future__ import annotations

from enum import Enum
import math

from hiwm_core.action import Action
from hiwm_core.error import ConfigurationError
from hiwm_core.task import FloatArray, Task
from hiwm_intervention.console_operator import ConsoleOperator
from hiwm_intervention.console_protocol import Hold
from hiwm_intervention.takeover import HELD_BY_OPERATOR, ON_ITS_WAY, Event, Phase

DEVICE = 'terminal'
# A key counts for at least so many periods after a report, so that no tap falls between two steps.
LEAST_PERIODS = 1.5
# The session samples itself at every answer; what is older is a session that hangs.
SAMPLE_TIMEOUT = 0.5


class Command(Enum):
    """What a key means beside driving."""

    TAKE_OVER = 'take over; if somebody else drives, ask them for the wheel'
    RELEASE = 'let go'
    PAUSE = 'pause; when paused, give the wheel to the policy; when stopped, unlock'
    STOP = 'stop everything'
    ROLLBACK = 'roll back'
    HELP = 'show this'
    QUIT = 'let go and quit'


COMMANDS = {
    't': Command.TAKE_OVER,
    'r': Command.RELEASE,
    'space': Command.PAUSE,
    'escape': Command.STOP,
    'backspace': Command.ROLLBACK,
    '?': Command.HELP,
    'q': Command.QUIT,
}


class TerminalSession:
    """The state behind one terminal. All times are seconds on one steady clock.

    Args:
        task: The action space and the keys.
        operator_id: Who is at the terminal.
        repeat_timeout: s that a key counts as held after each report.
        away_timeout: s without any key, after which nobody is there.

    Raises:
        ConfigurationError: A driving key of the task cannot be read from a terminal, or is taken.
    """

    def __init__(
        self, task: Task, operator_id: str, repeat_timeout: float, away_timeout: float
    ) -> None:
        for key in task.keys:
            if key in COMMANDS or len(key) != 1 or not key.isprintable():
                meaning = f"means '{COMMANDS[key].value}'" if key in COMMANDS else 'cannot be read'
                raise ConfigurationError(
                    f"task '{task.name}' drives with the key '{key}', which {meaning} in a "
                    'terminal; choose another letter in its console.keys'
                )
        self.operator_id = operator_id
        self.phase: Phase | None = None
        self._task = task
        self._operator = ConsoleOperator(task, SAMPLE_TIMEOUT)
        self._repeat_timeout = max(repeat_timeout, LEAST_PERIODS * task.period)
        self._away_timeout = away_timeout
        self._reported: dict[str, float] = {}
        self._heard = -math.inf  # a key
        self._focused = True
        self._holder = ''
        self._asked_by = ''
        self._reason = ''
        self._waiting = False
        self._granted_stamp = 0
        self._granted_at = -math.inf

    @property
    def drives(self) -> bool:
        """Whether answers are due."""
        return self._operator.engaged

    def help(self) -> str:
        """The keys, a line each."""
        moves = {
            key: ', '.join(f'{name} {speed:+g}/s' for name, speed in speeds.items())
            for key, speeds in self._task.keys.items()
        }
        commands = {key: command.value for key, command in COMMANDS.items()}
        lines = [f'  {key:<9}  {meaning}' for key, meaning in {**moves, **commands}.items()]
        return '\n'.join(['Keys (one at a time; a tap is a short move):', *lines])

    def press(self, key: str, now: float) -> Command | None:
        """A key was reported; returns the command that it is, if it is one."""
        if key in {'focus in', 'focus out'}:
            self._focused = key == 'focus in'
            self._reported.clear()
            return None
        self._heard = now
        if key in self._task.keys:
            self._reported[key] = now
        return COMMANDS.get(key)

    def event(self, command: Command) -> Event | str:
        """The event of the takeover table that a command asks for now, or why it cannot be."""
        if command is Command.STOP:
            return Event.LOCK
        if self._holder not in {'', self.operator_id}:
            if command is Command.TAKE_OVER:
                return Event.ASK
            return f"'{self._holder}' is in control; press t to ask for the wheel"
        if command is Command.PAUSE:
            return {Phase.PAUSED: Event.RESUME, Phase.LOCKED: Event.RESET}.get(
                self.phase or Phase.PAUSED, Event.PAUSE
            )
        return Event.TAKE_OVER if command is Command.TAKE_OVER else Event.RELEASE

    def granted(self, event: Event, stamp: int, now: float) -> None:
        """The multiplexer has done what was asked at `stamp` (ns of the graph's clock)."""
        if event is Event.TAKE_OVER:
            self._granted_stamp, self._granted_at = stamp, now
            self._holder = self.operator_id
            self._focused = True
            self._heard = now
            self._reported.clear()
            self._operator.engage(now)
        elif event is Event.RELEASE and self._holder == self.operator_id:
            self._holder = ''
            self._operator.disengage()

    def see_mux(
        self,
        phase: Phase,
        operator_id: str,
        stamp: int,
        now: float,
        *,
        reason: str = '',
        asked_by: str = '',
        waiting: bool = False,
    ) -> None:
        """Who drives, told at `stamp` (ns of the graph's clock)."""
        if stamp < self._granted_stamp and now - self._granted_at < ON_ITS_WAY:
            # It was on its way before the takeover was granted. After that, a clock was set back.
            return
        self.phase, self._holder = phase, operator_id
        self._reason, self._asked_by, self._waiting = reason, asked_by, waiting
        if phase not in HELD_BY_OPERATOR or operator_id != self.operator_id:
            self._operator.disengage()

    def leave(self) -> None:
        """The person goes: the next answer is the one with the dead-man down."""
        self._operator.lose()

    def answer(
        self,
        epoch: int,
        step: int,
        joints: FloatArray,
        now: float,
        *,
        lockstep: bool = False,
        executed: FloatArray | None = None,
    ) -> Action | None:
        """What to send now, if anything; ask on every new state and a few times a period.

        Args:
            epoch: Of the newest state.
            step: Of the newest state.
            joints: float64 (J,), measured last.
            now: s.
            lockstep: Whether the rig waits for answers.
            executed: float64 (A,), what the rig did last; None: not known.
        """
        here = self._focused and now - self._heard <= self._away_timeout
        held = {
            key: 1.0
            for key, reported in self._reported.items()
            if now - reported <= self._repeat_timeout
        }
        if self.drives:
            self._operator.sample(Hold(held, device=DEVICE, deadman=here), now)
        return self._operator.answer(epoch, step, joints, now, lockstep=lockstep, executed=executed)

    def line(self) -> str:
        """What goes on, in one line."""
        if self.phase is None:
            return 'waiting for the multiplexer'
        if self.drives:
            keys = ' '.join(sorted(self._operator.held))
            state = f'you drive {keys}' if keys else 'you drive'
            state += ' (time stands still)' if self._waiting else ''
        elif self._holder:
            state = f"'{self._holder}' drives"
        else:
            state = self.phase.name.lower()
        asked = f" | '{self._asked_by}' asks for the wheel" if self._asked_by else ''
        return f'{state}{asked} | {self._reason} | ? for help'
