# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: keys that only repeat, and a terminal that is always put back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hiwm_core.error import ConfigurationError
from hiwm_core.task import load_task
from hiwm_intervention.takeover import Event, Phase
from hiwm_intervention.terminal import keys_of
from hiwm_intervention.terminal_session import COMMANDS, Command, TerminalSession

TASK = load_task('pusht')
JOINTS = np.array([0.25, 0.25])


@pytest.mark.parametrize(
    ('text', 'keys'),
    [
        ('wWd', ['w', 'w', 'd']),
        (' \x1b\x7f?', ['space', 'escape', 'backspace', '?']),
        ('\x1b[A\x1b[1;5C\x1bOPd', ['d']),
        ('\x1b[Od\x1b[I', ['focus out', 'd', 'focus in']),
        ('\x00\x01', []),
    ],
)
def test_what_a_terminal_sends_is_keys(text: str, keys: list[str]) -> None:
    assert keys_of(text) == keys


def session(**changes: float) -> TerminalSession:
    values = {'repeat_timeout': 0.15, 'away_timeout': 60.0, **changes}
    made = TerminalSession(TASK, 'ada', **values)
    made.see_mux(Phase.PAUSED, '', 1, 100.5)
    return made


def driving(**changes: float) -> TerminalSession:
    made = session(**changes)
    made.granted(Event.TAKE_OVER, 10, 100.0)
    made.see_mux(Phase.CORRECTING, 'ada', 11, 100.5)
    assert made.drives
    return made


def test_a_key_is_held_for_a_moment_after_each_report() -> None:
    terminal = driving()
    assert terminal.answer(1, 0, JOINTS, 100.0).idle
    terminal.press('d', 100.1)
    moved = terminal.answer(1, 1, JOINTS, 100.11)
    assert not moved.idle
    np.testing.assert_allclose(moved.values, [0.275, 0.25])
    assert (moved.device, moved.deadman) == ('terminal', True)
    terminal.press('d', 100.2)
    assert not terminal.answer(1, 2, JOINTS, 100.3).idle
    assert terminal.answer(1, 3, JOINTS, 100.4).idle


def test_a_tap_moves_even_where_a_step_is_long() -> None:
    terminal = driving(repeat_timeout=0.02)
    terminal.press('d', 100.0)
    assert not terminal.answer(1, 0, JOINTS, 100.14).idle
    assert terminal.answer(1, 1, JOINTS, 100.26).idle


def test_nobody_drives_without_the_wheel() -> None:
    terminal = session()
    terminal.press('d', 100.0)
    assert terminal.answer(1, 0, JOINTS, 100.0) is None
    terminal.granted(Event.TAKE_OVER, 10, 100.0)
    terminal.see_mux(Phase.HANDOVER, 'ada', 11, 100.5)
    assert terminal.answer(1, 0, JOINTS, 100.0).deadman
    terminal.see_mux(Phase.PAUSED, '', 12, 100.5)
    assert terminal.answer(1, 1, JOINTS, 100.2) is None


def test_a_state_from_before_the_takeover_does_not_end_it() -> None:
    terminal = session()
    terminal.granted(Event.TAKE_OVER, 10, 100.0)
    terminal.see_mux(Phase.PAUSED, '', 9, 100.5)
    assert terminal.drives
    # Long after, it is a clock that was set back.
    terminal.see_mux(Phase.PAUSED, '', 9, 102.0)
    assert not terminal.drives


@pytest.mark.parametrize('how', ['away', 'focus', 'leaves', 'moved'])
def test_who_is_not_there_lets_go_once(how: str) -> None:
    terminal = driving(away_timeout=5.0)
    assert terminal.answer(1, 0, JOINTS, 100.0).deadman
    now, epoch = 100.2, 1
    if how == 'away':
        now = 106.0
    elif how == 'focus':
        terminal.press('focus out', now)
    elif how == 'leaves':
        terminal.leave()
    else:
        epoch = 2
    let_go = terminal.answer(epoch, 1, JOINTS, now)
    assert let_go is not None
    assert not let_go.deadman or how == 'leaves'
    if how != 'leaves':
        assert terminal.answer(epoch, 2, JOINTS, now + 0.2) is None


@pytest.mark.parametrize(
    ('phase', 'holder', 'command', 'event'),
    [
        (Phase.AUTONOMOUS, '', Command.TAKE_OVER, Event.TAKE_OVER),
        (Phase.AUTONOMOUS, '', Command.PAUSE, Event.PAUSE),
        (Phase.PAUSED, '', Command.PAUSE, Event.RESUME),
        (Phase.LOCKED, '', Command.PAUSE, Event.RESET),
        (Phase.CORRECTING, 'ada', Command.RELEASE, Event.RELEASE),
        (Phase.CORRECTING, 'ada', Command.PAUSE, Event.PAUSE),
        (Phase.CORRECTING, 'grace', Command.TAKE_OVER, Event.ASK),
        (Phase.CORRECTING, 'grace', Command.STOP, Event.LOCK),
    ],
)
def test_what_a_command_asks_for(phase: Phase, holder: str, command: Command, event: Event) -> None:
    terminal = session()
    terminal.see_mux(phase, holder, 2, 100.5)
    assert terminal.event(command) is event


@pytest.mark.parametrize('command', [Command.PAUSE, Command.RELEASE])
def test_who_only_watches_is_told_so(command: Command) -> None:
    terminal = session()
    terminal.see_mux(Phase.CORRECTING, 'grace', 2, 100.5)
    assert "'grace' is in control" in str(terminal.event(command))


def test_help_names_every_key() -> None:
    text = session().help()
    for key in (*TASK.keys, *COMMANDS):
        assert f'  {key} ' in text


@pytest.mark.parametrize(('key', 'why'), [('t', 'take over'), ('ArrowUp', 'cannot be read')])
def test_a_task_whose_keys_a_terminal_cannot_give_is_refused(key: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        TerminalSession(replace(TASK, keys={key: {'x': 0.1}}), 'ada', 0.15, 60.0)
