# SPDX-License-Identifier: Apache-2.0
"""What pages are told and may ask: control, words for services, rates, and a tree that keeps up."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.rig import Mode, Pace
from hiwm_core.rollout_tree import Label
from hiwm_core.task import load_task
from hiwm_intervention.console_protocol import ASKS, Ask
from hiwm_intervention.console_session import (
    EVENTS,
    SERVICES,
    ConsoleSession,
    MuxReport,
    Outcome,
    RecorderReport,
    RigReport,
)
from hiwm_intervention.console_tree import Lane, TreeView
from hiwm_intervention.takeover import REQUESTS, Phase

SECOND = 1_000_000_000
DONE = Outcome(True, '', {})


def rig(**changes: Any) -> RigReport:
    fields: dict[str, Any] = {
        'stamp': 5 * SECOND,
        'session': 'monday',
        'task': 'pusht',
        'rig': 'sim_arm',
        'epoch': 1,
        'node': 1,
        'branch': 'run-1',
        'step': 0,
        'context': False,
        'mode': int(Mode.RUNNING),
        'pace': int(Pace.REALTIME),
        'can_rollback': True,
        'can_branch': True,
        'progress': 0.25,
        'success': math.nan,
        'fidelity': 1.0,
        'dropped_actions': 0,
        'missed_deadlines': 2,
        'message': '',
    }
    return RigReport(**{**fields, **changes})


def mux(phase: Phase, operator_id: str = '', stamp: int = 10 * SECOND) -> MuxReport:
    return MuxReport(stamp, int(phase), 1, operator_id, '', False, '', 0)


def recorder() -> RecorderReport:
    return RecorderReport(True, '/bag', 1_000_000, 5_000_000_000, '')


@pytest.fixture
def session() -> ConsoleSession:
    session = ConsoleSession(load_task('pusht'), 'a session', 0.3)
    session.see_joints(np.array([0.25, 0.25]))
    session.see_rig(rig(), 0.0)
    session.see_mux(mux(Phase.PAUSED, stamp=0), 0.0)
    return session


def take_over(session: ConsoleSession, page: str, stamp: int = SECOND, now: float = 0.0) -> None:
    session.settle(page, Ask(1, 'take_over'), DONE, stamp, now)


# -- control ---------------------------------------------------------------------------------------


def test_the_page_that_takes_over_drives_and_the_others_watch(session: ConsoleSession) -> None:
    take_over(session, 'one')
    session.see_mux(mux(Phase.CORRECTING, 'one'), 0.0)
    session.hold('one', ['d'], 0.0)
    session.hold('two', ['a'], 0.0)
    assert session.tell(0.0)['held'] == ['d']
    for name in ASKS:
        refused = bool(session.refusal('two', Ask(2, name)))
        assert refused == (name != 'stop'), name
        assert not session.refusal('one', Ask(2, name))


def test_control_is_free_again_when_the_page_no_longer_drives(session: ConsoleSession) -> None:
    take_over(session, 'one')
    session.see_mux(mux(Phase.CORRECTING, 'one'), 0.0)
    session.see_mux(mux(Phase.PAUSED), 0.0)
    assert not session.refusal('two', Ask(1, 'take_over'))
    assert session.answer(0.1) is None


def test_a_device_elsewhere_keeps_all_pages_out(session: ConsoleSession) -> None:
    session.see_mux(mux(Phase.CORRECTING, 'script'), 0.0)
    assert "'script'" in session.refusal('one', Ask(1, 'rollback', {'steps': 3}))


def test_a_state_from_before_the_takeover_does_not_end_it(session: ConsoleSession) -> None:
    take_over(session, 'one', stamp=2 * SECOND)
    session.see_mux(mux(Phase.PAUSED, stamp=SECOND), 0.0)
    assert session.operator.engaged
    assert session.answer(0.0) is not None
    session.see_mux(mux(Phase.PAUSED, stamp=3 * SECOND), 0.0)
    assert not session.operator.engaged


def test_a_page_that_closes_lets_go_and_is_to_be_released(session: ConsoleSession) -> None:
    take_over(session, 'one')
    assert not session.close('two')
    session.answer(0.0)
    assert session.close('one')
    gone = session.answer(0.01)
    assert gone is not None and not gone.deadman
    assert not session.close('one')


def test_a_refused_takeover_gives_no_wheel(session: ConsoleSession) -> None:
    sentence = session.settle(
        'one', Ask(1, 'take_over'), Outcome(False, "'x' holds the token", {}), 0, 0.0
    )
    assert sentence == "'x' holds the token"
    assert session.answer(0.0) is None


def test_nothing_is_answered_before_the_joints_are_known() -> None:
    session = ConsoleSession(load_task('pusht'), 'a session', 0.3)
    session.see_rig(rig(), 0.0)
    take_over(session, 'one')
    assert session.answer(0.0) is None


# -- asks ------------------------------------------------------------------------------------------


def test_every_ask_has_a_service_and_every_request_an_ask() -> None:
    assert SERVICES.keys() == ASKS.keys()
    assert set(EVENTS.values()) == set(REQUESTS)


@pytest.mark.parametrize(
    ('ask', 'service', 'fields'),
    [
        (Ask(1, 'pause'), contract.TAKEOVER, {'event': 1, 'operator_id': 'one'}),
        (Ask(1, 'stop'), contract.TAKEOVER, {'event': 5, 'operator_id': 'one'}),
        (Ask(1, 'rollback', {'steps': 4}), contract.ROLLBACK, {'steps': 4}),
        (Ask(1, 'go_to', {'node': 9}), contract.ROLLBACK, {'node': 9}),
        (Ask(1, 'branch', {'called': ''}), contract.BRANCH, {'name': ''}),
        (Ask(1, 'checkpoint', {'called': 'a'}), contract.SAVE_CHECKPOINT, {'name': 'a'}),
        (
            Ask(1, 'label', {'label': 'failure', 'branch': '', 'note': 'n'}),
            contract.LABEL,
            {'label': int(Label.FAILURE), 'branch': '', 'note': 'n'},
        ),
    ],
)
def test_asks_become_requests(
    session: ConsoleSession, ask: Ask, service: contract.Service, fields: dict[str, Any]
) -> None:
    call = session.call('one', ask)
    assert (call.service, dict(call.fields)) == (service, fields)


def test_a_checkpoint_without_a_name_gets_a_free_one(session: ConsoleSession) -> None:
    session.tree.take([(1, 0, 'run-1')], [], {'checkpoint-1': 1})
    call = session.call('one', Ask(1, 'checkpoint', {'called': ''}))
    assert call.fields['name'] == 'checkpoint-2'


@pytest.mark.parametrize('name', list(ASKS))
def test_every_answer_is_a_sentence_or_nothing(session: ConsoleSession, name: str) -> None:
    fields = {'step': 3, 'branch': 'branch-1', 'seed': 17, 'label': 1}
    ask = Ask(1, name, {'label': 'success'})
    said = session.settle('one', ask, Outcome(True, '', fields), SECOND, 0.0)
    assert said == '' or said.endswith('.')
    assert session.settle('one', ask, Outcome(False, 'No.', {}), SECOND, 0.0) == 'No.'


# -- what is told ----------------------------------------------------------------------------------


def test_what_is_told_is_json_even_where_nothing_is_known() -> None:
    session = ConsoleSession(load_task('pusht'), 'a session', 0.3)
    json.dumps([session.hello('one'), session.tell(0.0)], allow_nan=False)
    session.see_rig(rig(progress=math.nan, fidelity=math.inf), 0.0)
    told = session.tell(0.0)
    json.dumps(told, allow_nan=False)
    assert told['rig']['progress'] is None and told['rig']['success'] is None


def test_the_rate_is_of_new_steps_and_nothing_while_paused(session: ConsoleSession) -> None:
    for step in range(40):
        session.see_rig(rig(node=step + 1, step=step), 0.1 * step)
    assert session.tell(4.0)['rig']['hertz'] == pytest.approx(10.0, abs=0.01)
    session.see_rig(rig(node=40, step=39, mode=int(Mode.PAUSED)), 4.0)
    assert session.tell(4.0)['rig']['hertz'] is None


def test_a_silent_rig_is_said_to_be_silent(session: ConsoleSession) -> None:
    assert session.tell(0.5)['rig']['silent_seconds'] == 0
    assert session.tell(7.3)['rig']['silent_seconds'] == 7


def test_who_no_longer_speaks_is_not_said_to_be_there(session: ConsoleSession) -> None:
    session.see_mux(mux(Phase.AUTONOMOUS), 0.0)
    session.see_recorder(recorder(), 0.0)
    assert session.tell(1.5)['mux']['phase'] == 'autonomous'
    assert session.tell(1.5)['recorder']['recording']
    assert session.tell(10.0)['mux'] is None
    assert session.tell(10.0)['recorder'] is None


def test_marks_lie_in_the_picture_where_the_task_puts_them(session: ConsoleSession) -> None:
    session.see_command(np.array([0.512, 0.0]))
    (mark,) = session.tell(0.0)['marks']
    assert mark['measured'] == pytest.approx([0.488, 0.488], abs=0.002)
    assert mark['commanded'] == pytest.approx([1.0, 0.0], abs=0.002)


# -- the tree --------------------------------------------------------------------------------------


def test_states_make_branches_grow() -> None:
    tree = TreeView()
    assert tree.see(1, 0, 'run-1'), 'an unknown branch has to be asked about'
    tree.take([(1, 0, 'run-1')], [Lane('run-1', 1, 0, 1)], {})
    for step in range(1, 6):
        assert not tree.see(1 + step, step, 'run-1')
    version = tree.version
    tree.see(3, 2, 'run-1')
    assert tree.version == version, 'a state seen again changes nothing'
    tree.take([], [Lane('branch-1', 1, 3, 3)], {'start': 1})
    tree.see(7, 3, 'branch-1')
    told = tree.tell()
    assert [
        (b['name'], b['step'], b['length'], b['fork_step'], b['fork_branch'])
        for b in told['branches']
    ] == [('branch-1', 3, 1, 2, 'run-1'), ('run-1', 5, 5, None, None)]
    assert told['checkpoints'] == [{'name': 'start', 'node': 1, 'step': 0, 'branch': 'run-1'}]


def test_an_answer_that_was_overtaken_does_not_shorten_a_branch() -> None:
    tree = TreeView()
    tree.take([(1, 0, 'run-1')], [Lane('run-1', 1, 0, 1)], {})
    tree.see(2, 1, 'run-1')
    tree.take([], [Lane('run-1', 1, 0, 1, Label.SUCCESS, 'good')], {})
    (branch,) = tree.tell()['branches']
    assert (branch['head'], branch['label'], branch['note']) == (2, 'success', 'good')


def test_what_is_not_known_is_not_made_up() -> None:
    tree = TreeView()
    tree.take([], [Lane('run-1', 1, 0, 90), Lane('branch-1', 1, 40, 95)], {'c': 70})
    told = tree.tell()
    assert [branch['length'] for branch in told['branches']] == [None, None]
    assert told['checkpoints'][0]['step'] is None


def test_a_rig_that_began_anew_has_another_tree(session: ConsoleSession) -> None:
    session.see_rig(rig(epoch=5, node=40, step=12), 0.0)
    session.tree.take([(40, 12, 'run-1')], [Lane('run-1', 1, 0, 40)], {})
    version = session.tree.version
    assert session.see_rig(rig(epoch=1), 1.0)
    assert session.tree.tell()['branches'] == []
    assert session.tree.version > version
