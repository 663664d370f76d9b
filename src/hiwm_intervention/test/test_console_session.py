# SPDX-License-Identifier: Apache-2.0
"""What pages are told and may ask: control, words for services, rates, and a tree that keeps up."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.rig import Mode, Pace
from hiwm_core.rollout_tree import Label
from hiwm_core.task import load_task
from hiwm_intervention.console_call import EVENTS, FREE, OWN, SERVICES, Outcome
from hiwm_intervention.console_feed import Cursor, TreeFeed
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_protocol import ASKS, Ask, Hold
from hiwm_intervention.console_report import MuxReport, RecorderReport, RigReport
from hiwm_intervention.console_session import ConsoleSession
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
        'parent': 0,
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
    session.hold('one', Hold({'d': 1.0}), 0.0)
    session.hold('two', Hold({'a': 1.0}), 0.0)
    assert session.tell(0.0)['held'] == ['d']
    for name in ASKS:
        refused = bool(session.refusal('two', Ask(2, name)))
        assert refused == (name not in FREE), name
        assert bool(session.refusal('one', Ask(2, name))) == (name == 'resample')


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


def test_a_clock_that_is_set_back_keeps_nobody_at_the_wheel(session: ConsoleSession) -> None:
    take_over(session, 'one', stamp=10_000 * SECOND)
    session.see_mux(mux(Phase.PAUSED, stamp=6_400 * SECOND), 2.0)
    assert session.holder == ''
    assert not session.refusal('two', Ask(1, 'take_over'))
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
    assert SERVICES.keys() | OWN == ASKS.keys()
    assert set(EVENTS.values()) == set(REQUESTS)


@pytest.mark.parametrize(
    ('ask', 'service', 'fields'),
    [
        (Ask(1, 'pause'), contract.TAKEOVER, {'event': 1, 'operator_id': 'one'}),
        (Ask(1, 'stop'), contract.TAKEOVER, {'event': 5, 'operator_id': 'one'}),
        (Ask(1, 'rollback', {'steps': 4}), contract.ROLLBACK, {'steps': 4}),
        (Ask(1, 'go_to', {'node': 9}), contract.ROLLBACK, {'node': 9}),
        (Ask(1, 'ask_wheel'), contract.TAKEOVER, {'event': 7, 'operator_id': 'one'}),
        (Ask(1, 'speed', {'speed': 0.5}), contract.SET_PACE, {'speed': 0.5}),
        (
            Ask(1, 'branch', {'called': '', 'node': 4}),
            contract.BRANCH,
            {'name': '', 'node': 4},
        ),
        (Ask(1, 'resample'), contract.BRANCH, {'name': '', 'node': 0, 'resample': True}),
        (
            Ask(1, 'checkpoint', {'called': 'a', 'node': 0}),
            contract.SAVE_CHECKPOINT,
            {'name': 'a', 'node': 0},
        ),
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
    session.tree.take([place(1, 0)], [], {'bookmark-1': 1})
    call = session.call('one', Ask(1, 'checkpoint', {'called': ''}))
    assert call.fields['name'] == 'bookmark-2'


@pytest.mark.parametrize('name', list(SERVICES))
def test_every_answer_is_a_sentence_or_nothing(session: ConsoleSession, name: str) -> None:
    fields = {'step': 3, 'node': 9, 'branch': 'branch-1', 'seed': 17, 'label': 1, 'speed': 2.0}
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
    assert session.tell(600.0)['rig']['hertz'] is None, 'a rig that says nothing has no rate'
    session.see_rig(rig(node=40, step=39, mode=int(Mode.PAUSED)), 4.0)
    assert session.tell(4.0)['rig']['hertz'] is None


def test_a_silent_rig_is_said_to_be_silent(session: ConsoleSession) -> None:
    assert session.tell(0.5)['rig']['silent_seconds'] == 0
    assert session.tell(7.3)['rig']['silent_seconds'] == 7


def test_pages_are_told_what_ended_a_takeover_until_somebody_drives(
    session: ConsoleSession,
) -> None:
    take_over(session, 'page-a')
    session.see_mux(mux(Phase.CORRECTING, 'page-a'), 0.0)
    assert session.tell(0.0)['incident'] == ''
    session.close('page-a')
    # One that was on its way tells nothing new.
    session.see_mux(mux(Phase.CORRECTING, 'page-a'), 0.1)
    session.see_mux(mux(Phase.PAUSED), 0.2)
    assert 'was closed' in session.tell(0.2)['incident']
    session.see_mux(mux(Phase.AUTONOMOUS), 0.3)
    assert session.tell(0.3)['incident'] == ''


def test_pages_are_told_of_samples_that_stay_away_and_not_of_an_open_hand(
    session: ConsoleSession,
) -> None:
    take_over(session, 'page-a')
    action = session.answer(100.0)
    assert action is not None and not action.deadman
    assert 'Nothing was heard' in session.tell(100.0)['incident']
    session.see_mux(mux(Phase.PAUSED), 100.0)
    session.see_mux(mux(Phase.HANDOVER, 'page-a', stamp=20 * SECOND), 100.1)
    take_over(session, 'page-a', stamp=20 * SECOND, now=100.1)
    session.hold('page-a', Hold(deadman=False), 100.2)
    action = session.answer(100.2)
    assert action is not None and not action.deadman
    assert session.tell(100.2)['incident'] == ''


def test_a_rig_that_was_started_again_is_told_of(session: ConsoleSession) -> None:
    session.see_rig(rig(epoch=3, step=40, executed_actions=40), 10.0)
    session.see_rig(rig(epoch=4, step=30, executed_actions=40), 10.1)
    assert session.tell(10.1)['incident'] == ''
    session.see_rig(rig(epoch=5, step=31, executed_actions=0), 14.1)
    told = session.tell(14.1)['incident']
    assert told == 'The rig was gone for 4 s and was started again at step 31 of run-1.'


def test_who_no_longer_speaks_is_not_said_to_be_there(session: ConsoleSession) -> None:
    session.see_mux(mux(Phase.AUTONOMOUS), 0.0)
    session.see_recorder(recorder(), 0.0)
    assert session.tell(1.5)['mux']['phase'] == 'autonomous'
    assert session.tell(1.5)['recorder']['recording']
    assert session.tell(10.0)['mux'] is None
    assert session.tell(10.0)['recorder'] is None


def test_marks_lie_in_the_picture_where_the_task_puts_them(session: ConsoleSession) -> None:
    session.see_executed(np.array([0.512, 0.0]), Source.POLICY, 1, 0, 0)
    (mark,) = session.tell(0.0)['marks']
    assert mark['measured'] == pytest.approx([0.488, 0.488], abs=0.002)
    assert mark['commanded'] == pytest.approx([1.0, 0.0], abs=0.002)


def test_the_target_of_the_task_is_an_outline_in_the_picture(session: ConsoleSession) -> None:
    (outline,) = session.hello('one')['task']['targets']
    # Push-T: the T's stem, turned by 45 degrees about the middle of the picture.
    assert len(outline) == 8
    assert outline[0] == pytest.approx([0.5 - 0.06 / 2**0.5 / 0.512] * 2, abs=0.001)
    assert all(0.0 < share < 1.0 for point in outline for share in point)


# -- latency ---------------------------------------------------------------------------------------


def test_the_frame_that_answers_an_input_carries_its_time_back(session: ConsoleSession) -> None:
    take_over(session, 'one')
    session.hold('one', Hold({'d': 1.0}, at=123.5), 0.0)
    action = session.answer(0.0)
    assert action is not None
    policy = session.see_executed(action.values, Source.POLICY, action.epoch, action.step, 1)
    assert policy == [], 'what another source chose answers nothing'
    assert session.see_executed(action.values, Source.OPERATOR, action.epoch, action.step, 2) == [
        123.5
    ]


# -- the tree --------------------------------------------------------------------------------------


def place(node: int, step: int, branch: str = 'run-1', parent: int = 0) -> Place:
    return Place(node, parent, step, branch, Source.POLICY)


class Reader:
    """A page that takes in what the feed tells it."""

    def __init__(self, feed: TreeFeed) -> None:
        self.feed = feed
        self.cursor = Cursor()
        self.nodes: dict[int, list[Any]] = {}
        self.lanes: dict[str, dict[str, Any]] = {}
        self.checkpoints: dict[str, int] = {}
        self.parts = 0
        self.rows = 0

    def read(self) -> Reader:
        while self.feed.has_news(self.cursor):
            told = json.loads(json.dumps(self.feed.tell(self.cursor), allow_nan=False))
            if told['fresh']:
                self.nodes, self.lanes, self.checkpoints = {}, {}, {}
            self.nodes.update({row[0]: row for row in told['nodes']})
            self.lanes.update({lane['name']: lane for lane in told['lanes']})
            self.checkpoints = told.get('checkpoints', self.checkpoints)
            self.parts += 1
            self.rows += len(told['nodes'])
        return self


def publish(tree: TreeView, feed: TreeFeed) -> None:
    news = tree.take_news()
    if news is not None:
        feed.take(news)


def test_states_make_branches_grow() -> None:
    tree, feed = TreeView(), TreeFeed('key')
    reader = Reader(feed)
    assert tree.see(place(1, 0)), 'an unknown branch has to be asked about'
    tree.take([place(1, 0)], [Lane('run-1', 1, 0, 1)], {})
    for step in range(1, 6):
        assert not tree.see(place(1 + step, step, parent=step))
        publish(tree, feed)
        reader.read()
    assert reader.rows == 6, 'each node is told once'
    tree.see(place(3, 2, parent=2))
    assert tree.take_news() is None, 'a state seen again changes nothing'
    tree.take([], [Lane('branch-1', 1, 3, 3)], {'start': 1})
    tree.see(place(7, 3, 'branch-1', 3))
    publish(tree, feed)
    reader.read()
    assert reader.nodes[7][:4] == [7, 3, 3, reader.lanes['branch-1']['number']]
    assert reader.lanes['branch-1']['fork'] == 3
    assert reader.lanes['run-1']['head'] == 6
    assert reader.checkpoints == {'start': 1}


def test_a_page_that_comes_late_gets_the_same_tree_in_parts() -> None:
    tree, feed = TreeView(), TreeFeed('key')
    early = Reader(feed)
    for node in range(1, 5001):
        tree.see(place(node, node - 1, parent=node - 1))
        if node % 7 == 0:
            publish(tree, feed)
            early.read()
    tree.take([], [Lane('run-1', 1, 0, 5000)], {'end': 5000})
    publish(tree, feed)
    late = Reader(feed).read()
    assert early.read().nodes == late.nodes and len(late.nodes) == 5000
    assert (late.lanes, late.checkpoints) == (early.lanes, early.checkpoints)
    assert late.parts == 3


def test_a_node_is_told_again_only_if_more_is_known_of_it() -> None:
    tree, feed = TreeView(), TreeFeed('key')
    tree.see(Place(1, 0, 0, 'run-1'))
    publish(tree, feed)
    reader = Reader(feed).read()
    tree.take([place(1, 0)], [Lane('run-1', 1, 0, 1)], {})
    publish(tree, feed)
    assert reader.read().nodes[1] == [1, 0, 0, 0, int(Source.POLICY)]


def test_a_page_is_told_when_the_whole_tree_is_known() -> None:
    tree, feed = TreeView(), TreeFeed('key')
    cursor = Cursor()

    def more() -> bool:
        publish(tree, feed)
        return bool(feed.tell(cursor)['more'])

    tree.see(place(3, 2))
    assert more(), 'the head alone, as a console knows it that has just come back'
    tree.take([place(1, 0), place(2, 1)], [Lane('run-1', 1, 0, 3)], {}, count=3)
    assert more()
    tree.take([place(3, 2)], [Lane('run-1', 1, 0, 3)], {}, count=3)
    publish(tree, feed)
    assert feed.has_news(cursor)
    assert not more()
    tree.see(place(4, 3))
    assert not more(), 'what comes later is growth'


def test_an_answer_that_was_overtaken_does_not_shorten_a_branch() -> None:
    tree = TreeView()
    tree.take([place(1, 0)], [Lane('run-1', 1, 0, 1)], {})
    tree.see(place(2, 1))
    tree.take([], [Lane('run-1', 1, 0, 1, Label.SUCCESS, 'good')], {})
    lane = tree.lanes['run-1']
    assert (lane.head, lane.label, lane.note) == (2, Label.SUCCESS, 'good')


def test_the_source_of_a_step_is_that_of_the_executed_action(session: ConsoleSession) -> None:
    session.see_executed(np.array([0.2, 0.2]), Source.OPERATOR, 1, 0, 6 * SECOND)
    session.see_rig(rig(node=2, parent=1, step=1, stamp=6 * SECOND), 0.1)
    session.see_rig(rig(node=3, parent=2, step=2, stamp=7 * SECOND), 0.2)
    assert [session.tree.places[node].source for node in (2, 3)] == [Source.OPERATOR, Source.NONE]


def test_a_rig_that_began_anew_has_another_tree(session: ConsoleSession) -> None:
    feed = TreeFeed('key')
    session.see_rig(rig(epoch=5, node=40, step=12), 0.0)
    session.tree.take([place(40, 12)], [Lane('run-1', 1, 0, 40)], {})
    publish(session.tree, feed)
    reader, key = Reader(feed).read(), feed.key
    assert session.see_rig(rig(epoch=1), 1.0)
    publish(session.tree, feed)
    assert reader.read().nodes.keys() == {1}
    assert feed.key != key, 'frames of the tree before are at another address'


def test_a_rig_that_kept_nothing_has_another_tree_though_its_epoch_is_the_same(
    session: ConsoleSession,
) -> None:
    session.see_rig(rig(epoch=1, node=40, step=39, executed_actions=39), 0.0)
    before = session.tree
    session.see_rig(rig(epoch=1, node=41, step=40, executed_actions=40), 0.1)
    assert session.tree is before
    assert session.see_rig(rig(epoch=1, node=1, step=0, executed_actions=0), 9.0)
    assert session.tree.generation > before.generation
