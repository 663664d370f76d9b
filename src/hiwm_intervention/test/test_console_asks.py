# SPDX-License-Identifier: Apache-2.0
"""What becomes of a page's asks, with the graph's answers given by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hiwm_core import contract
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import load_task
from hiwm_intervention.console_asks import Asks
from hiwm_intervention.console_call import Call, Outcome
from hiwm_intervention.console_iws import Begin
from hiwm_intervention.console_protocol import Ask
from hiwm_intervention.console_report import MuxReport, RigReport
from hiwm_intervention.console_session import ConsoleSession
from hiwm_intervention.console_starts import HardStarts
from hiwm_intervention.reset_guide import Stage
from hiwm_intervention.takeover import Event, Phase


class Desk:
    """The asks of one console, and all that comes of them, in order."""

    def __init__(self, folder: Path, *, physical: bool) -> None:
        self.session = ConsoleSession(load_task('pusht'), 'a session', 0.3)
        self.starts = HardStarts(str(folder), 'pusht')
        self.calls: list[tuple[Call, Callable[[Outcome], None]]] = []
        self.told: list[tuple[Any, ...]] = []
        self.level: bool | None = None
        self.changes = 0
        self.asks = Asks(
            self.session,
            self.starts,
            self,
            self,
            send=lambda call, settle: self.calls.append((call, settle)),
            stamp=lambda: 0,
            changed=self._count,
        )
        self.show(physical)

    def show(self, physical: bool) -> None:
        """The rig says whether it can be rolled back."""
        report = RigReport(
            **dict.fromkeys(RigReport.__annotations__, 0)
            | {'session': 'monday', 'task': 'pusht', 'rig': 'arm', 'branch': 'run-1'}
            | {'mode': int(Mode.RUNNING), 'pace': int(Pace.REALTIME), 'message': ''}
            | {'can_rollback': not physical, 'can_branch': not physical, 'epoch': 1, 'node': 1}
        )
        self.session.see_rig(report, 0.0)

    def _count(self) -> None:
        self.changes += 1

    def reply(self, page: str, number: int, name: str, ok: bool, text: str) -> None:
        self.told.append((page, number, name, ok, text))

    def reject(self, page: str, text: str) -> None:
        self.told.append((page, text))

    @property
    def used(self) -> bool:
        return self.level is not None

    def press(self) -> None:
        self.level = True

    def take_back(self) -> None:
        self.level = False

    def answer(self, success: bool, message: str = '', **fields: Any) -> None:
        """The graph answers what was asked first."""
        _, settle = self.calls.pop(0)
        settle(Outcome(success, message, fields))

    @property
    def asked(self) -> list[tuple[contract.Service, dict[str, Any]]]:
        """What the graph was asked and has not answered."""
        return [(call.service, dict(call.fields)) for call, _ in self.calls]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, physical=False)


@pytest.fixture
def arm(tmp_path: Path) -> Desk:
    return Desk(tmp_path, physical=True)


def test_an_ask_is_answered_when_the_graph_has_answered(desk: Desk) -> None:
    desk.asks.take('page-1', Ask(7, 'rollback', {'steps': 3}))
    assert desk.asked == [(contract.ROLLBACK, {'steps': 3})]
    assert not desk.told and not desk.changes
    desk.answer(True, step=4)
    page, number, name, ok, text = desk.told[0]
    assert (page, number, name, ok) == ('page-1', 7, 'rollback', True)
    assert text.startswith('Back at step 4.')
    assert desk.changes == 1


def test_what_the_graph_refuses_is_told_in_its_words(desk: Desk) -> None:
    desk.asks.take('page-1', Ask(7, 'rollback', {'steps': 3}))
    desk.answer(False, 'there are only 2 steps')
    assert desk.told == [('page-1', 7, 'rollback', False, 'there are only 2 steps')]


def test_who_only_watches_is_refused_and_nothing_is_asked(desk: Desk) -> None:
    desk.asks.take('page-1', Ask(1, 'take_over'))
    desk.answer(True)
    desk.asks.take('page-2', Ask(1, 'rollback', {'steps': 3}))
    assert not desk.asked
    assert desk.told[-1][:4] == ('page-2', 1, 'rollback', False)
    assert desk.told[-1][4].startswith("'page-1' is in control")


def test_a_page_that_is_gone_lets_the_wheel_go_without_a_reply(desk: Desk) -> None:
    desk.asks.release('page-1')
    event = {'event': int(Event.RELEASE), 'operator_id': 'page-1'}
    assert desk.asked == [(contract.TAKEOVER, event)]
    desk.answer(True)
    assert not desk.told


def test_starts_are_remembered_and_forgotten_here(desk: Desk) -> None:
    desk.asks.take('page-1', Ask(1, 'remember_start', {'seed': 17, 'note': 'behind the block'}))
    assert desk.starts.tell() == [{'seed': 17, 'note': 'behind the block'}]
    desk.asks.take('page-1', Ask(2, 'forget_start', {'seed': 17}))
    desk.asks.take('page-1', Ask(3, 'forget_start', {'seed': 17}))
    assert desk.starts.tell() == [] and not desk.asked
    assert [told[3:] for told in desk.told] == [
        (True, 'Start 17 is remembered.'),
        (True, 'Start 17 is forgotten.'),
        (False, 'start 17 is not in the list'),
    ]


def test_only_a_stop_of_something_real_is_pressed_and_taken_back(desk: Desk, arm: Desk) -> None:
    desk.asks.take('page-1', Ask(1, 'stop'))
    desk.asks.take('page-1', Ask(2, 'unlock'))
    assert desk.level is None
    arm.asks.take('page-1', Ask(2, 'unlock'))
    assert arm.level is None, 'what was not pressed is not touched'
    arm.asks.take('page-1', Ask(1, 'stop'))
    assert arm.level is True
    arm.asks.take('page-1', Ask(2, 'unlock'))
    assert arm.level is False
    events = [int(Event.RESET), int(Event.LOCK), int(Event.RESET)]
    assert [fields['event'] for _, fields in arm.asked] == events


def test_a_start_of_something_real_is_set_up_before_the_reset(arm: Desk) -> None:
    arm.session.see_mux(MuxReport(0, int(Phase.AUTONOMOUS), 1, '', '', False, '', 0), 0.0)
    arm.asks.take('page-1', Ask(1, 'reset', {'seed': 5}))
    pause = {'event': int(Event.PAUSE), 'operator_id': 'page-1'}
    assert arm.asked == [(contract.TAKEOVER, pause)], 'nothing may drive while it is set up'
    assert arm.session.guide.stage is Stage.SHOWN
    arm.answer(True)
    arm.asks.take('page-1', Ask(2, 'ready'))
    assert arm.asked == [(contract.RESET, {'seed': 5})]
    arm.answer(True, node=9, seed=5)
    assert [told[1:4] for told in arm.told] == [(1, 'reset', True), (2, 'ready', True)]
    arm.asks.take('page-1', Ask(3, 'ready'))
    arm.asks.take('page-1', Ask(4, 'cancel_start'))
    assert [told[3] for told in arm.told[2:]] == [False, False]
    assert not arm.asked


def test_a_page_from_elsewhere_begins_a_run_and_takes_the_wheel(desk: Desk) -> None:
    desk.asks.begin('page-1', Begin('pusht'))
    assert desk.asked == [(contract.RESET, {'seed': -1})]
    desk.answer(True, seed=3)
    take_over = {'event': int(Event.TAKE_OVER), 'operator_id': 'page-1'}
    assert desk.asked == [(contract.TAKEOVER, take_over)]
    desk.answer(False, 'somebody drives')
    assert desk.told == [('page-1', 'somebody drives')]


def test_a_page_from_elsewhere_drives_nothing_real_and_no_other_task(desk: Desk, arm: Desk) -> None:
    desk.asks.begin('page-1', Begin('folding'))
    arm.asks.begin('page-1', Begin('pusht'))
    assert desk.told == [('page-1', "the task is 'pusht', not 'folding'")]
    assert arm.told == [('page-1', 'such a page may drive only where nothing real can move')]
    assert not desk.asked and not arm.asked
