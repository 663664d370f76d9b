# SPDX-License-Identifier: Apache-2.0
"""The guide for a start that a person sets up: when it is shown, what of, and when it is over."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any

import numpy as np
import pytest

from hiwm_core.rig import Mode, Pace
from hiwm_core.task import load_task
from hiwm_intervention.console_call import Outcome, call_of
from hiwm_intervention.console_marks import bodies_of, targets_of
from hiwm_intervention.console_protocol import Ask
from hiwm_intervention.console_report import RigReport
from hiwm_intervention.console_session import ConsoleSession
from hiwm_intervention.console_tree import TreeView
from hiwm_intervention.reset_guide import TABLE, ResetGuide, Stage, Step

TASK = load_task('pusht')


def rig(**changes: Any) -> RigReport:
    report = RigReport(
        stamp=1, session='monday', task='pusht', rig='dynamixel_arm', epoch=4, node=9, parent=0,
        branch='run-1', step=0, context=False, mode=int(Mode.PAUSED), pace=int(Pace.REALTIME),
        can_rollback=False, can_branch=False, progress=math.nan, success=math.nan, fidelity=1.0,
        dropped_actions=0, missed_deadlines=0, message='',
    )  # fmt: skip
    return replace(report, **changes)


@pytest.fixture
def guide() -> ResetGuide:
    """One that a page has asked for, in the midst of a run."""
    guide = ResetGuide(TASK)
    guide.ask(17, epoch=4, now=100.0)
    return guide


def test_a_start_is_told_as_places_and_outlines_and_for_how_long(guide: ResetGuide) -> None:
    told = guide.tell(163.9)
    assert told is not None
    assert (told['seed'], told['seconds'], told['placing']) == (17, 63, False)
    assert told['sentence'].startswith('Lay pusher and tee on their outlines, take your hands')
    pusher, tee = told['bodies']
    scene = TASK.start_scene(17)
    size = TASK.camera.width * TASK.camera.metres_per_pixel
    assert pusher['place'] == pytest.approx(scene[:2] / size, abs=1e-3)
    assert pusher['outline'] is None, 'a point has none'
    assert tee['place'] == pytest.approx(scene[2:4] / size, abs=1e-3)
    (body,) = [one for one in TASK.bodies if one.name == 'tee']
    turn = np.array(
        [
            [math.cos(scene[4]), -math.sin(scene[4])],
            [math.sin(scene[4]), math.cos(scene[4])],
        ]
    )
    wanted = (np.array(body.points) @ turn.T + scene[2:4]) / size
    assert np.array(tee['outline']) == pytest.approx(wanted, abs=1e-3)


def test_bodies_of_which_the_place_is_not_known_are_left_out() -> None:
    assert [body['name'] for body in bodies_of(TASK, TASK.target)] == ['tee']
    assert targets_of(TASK) == [body['outline'] for body in bodies_of(TASK, TASK.target)]
    assert bodies_of(TASK, {}) == []


def test_ready_places_once_and_a_refusal_lets_the_person_try_again(guide: ResetGuide) -> None:
    assert guide.place()
    assert not guide.place(), 'the rig is being reset'
    assert guide.tell(101.0) is not None
    guide.settle(0)
    assert guide.stage is Stage.SHOWN
    assert guide.place()
    guide.settle(12)
    assert guide.stage is Stage.OFF and guide.tell(102.0) is None
    assert not guide.place()


def test_the_rigs_own_word_of_a_start_that_was_set_up_shows_no_other(guide: ResetGuide) -> None:
    guide.place()
    guide.see_reset(17, node=12, epoch=5, now=101.0)
    assert guide.stage is Stage.PLACING
    guide.settle(12)
    guide.see_reset(17, node=12, epoch=5, now=101.2)
    assert guide.stage is Stage.OFF
    guide.see_reset(18, node=30, epoch=6, now=110.0)
    assert guide.stage is Stage.SHOWN and guide.seed == 18


def test_a_reset_to_no_start_shows_nothing() -> None:
    guide = ResetGuide(TASK)
    guide.see_reset(-1, node=3, epoch=2, now=0.0)
    assert guide.stage is Stage.OFF


@pytest.mark.parametrize(
    ('reports', 'shown'),
    [
        ([rig()], True),
        ([rig(step=30)], True),
        ([rig(step=30, mode=int(Mode.RUNNING))], True),
        ([rig(step=30, mode=int(Mode.RUNNING)), rig(step=31)], True),
        ([rig(step=31), rig(step=31, mode=int(Mode.RUNNING))], False),
        ([rig(epoch=3, mode=int(Mode.RUNNING))], True),
        ([rig(epoch=5)], False),
        ([rig(can_rollback=True)], False),
        ([rig(mode=int(Mode.FAULT), message='hot')], True),
    ],
)
def test_what_the_rig_does_ends_a_guide_that_a_page_asked_for(
    guide: ResetGuide, reports: list[RigReport], shown: bool
) -> None:
    for report in reports:
        guide.see_rig(report)
    assert (guide.stage is Stage.SHOWN) == shown


@pytest.mark.parametrize(
    ('report', 'shown'),
    [
        (rig(epoch=6), True),
        (rig(epoch=5, step=80, mode=int(Mode.RUNNING)), True),
        (rig(epoch=6, mode=int(Mode.RUNNING)), False),
        (rig(epoch=6, step=12), False),
        (rig(epoch=7), False),
    ],
)
def test_what_was_reset_long_ago_is_not_to_be_set_up(report: RigReport, shown: bool) -> None:
    """A console that begins in the midst of a session hears of every reset before."""
    guide = ResetGuide(TASK)
    for epoch, node in ((2, 1), (6, 40)):
        guide.see_reset(3, node=node, epoch=epoch, now=0.0)
    guide.see_rig(report)
    assert (guide.stage is Stage.SHOWN) == shown


def test_every_pair_that_the_table_does_not_name_changes_nothing() -> None:
    acts = {
        Step.WANTED: lambda guide: guide.ask(1, 1, 0.0),
        Step.READY: ResetGuide.place,
        Step.PLACED: lambda guide: guide.settle(5),
        Step.REFUSED: lambda guide: guide.settle(0),
        Step.LEFT: ResetGuide.leave,
    }
    for stage in Stage:
        for step, act in acts.items():
            guide = ResetGuide(TASK)
            guide.stage = stage
            act(guide)
            assert guide.stage is TABLE.get((stage, step), stage), (stage, step)


# -- the session ---------------------------------------------------------------------------------


def test_a_session_tells_of_it_and_ends_it_with_the_rigs_answer() -> None:
    session = ConsoleSession(TASK, 'a session', 0.3)
    session.see_rig(rig(), 0.0)
    assert session.is_guided and session.tell(0.0)['guide'] is None
    session.guide.ask(17, session.epoch, 0.0)
    assert session.tell(2.0)['guide']['seconds'] == 2
    session.guide.place()
    ask = Ask(1, 'ready', {'seed': 17})
    refused = session.settle('one', ask, Outcome(False, 'no frame has come', {}), 0, 3.0)
    assert refused == 'no frame has come' and session.tell(3.0)['guide'] is not None
    session.guide.place()
    done = Outcome(True, '', {'node': 9, 'seed': 17, 'epoch': 5})
    assert session.settle('one', ask, done, 0, 42.4) == 'A new run from start 17, set up in 42 s.'
    assert session.tell(43.0)['guide'] is None
    call = call_of('one', ask, TreeView())
    assert call.service.name == '/rig/reset' and call.fields == {'seed': 17}


def test_a_rig_that_goes_back_by_itself_needs_nobody() -> None:
    session = ConsoleSession(TASK, 'a session', 0.3)
    assert not session.is_guided, 'nothing is known of it yet'
    session.see_rig(rig(can_rollback=True), 0.0)
    assert not session.is_guided
