# SPDX-License-Identifier: Apache-2.0
"""Time stands still while the person thinks, on a rig that can, and only then."""

from __future__ import annotations

from mux_session import MIDDLE, OPERATOR_TIMEOUT, Session, only
import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.rig import Mode, Pace
from hiwm_intervention.rig_mode import COMMAND_TIMEOUT
from hiwm_intervention.takeover import Event, Phase
from hiwm_rig.pacing import Advance


def correcting(pace: Pace, *, can_set_pace: bool = True, on_input: bool = True) -> Session:
    """An operator drives, and has commanded no motion yet."""
    session = Session(pace, can_set_pace=can_set_pace, on_input=on_input)
    session.drive(Event.TAKE_OVER)
    only(session.propose('operator', idle=True))
    assert session.phase is Phase.CORRECTING
    return session


def thinking(pace: Pace) -> Session:
    """Time stands still."""
    session = correcting(pace)
    session.poll()
    session.obey()
    assert session.asked == [Advance.ON_INPUT]
    session.next_step()
    assert session.propose('operator', idle=True) is None
    assert session.mux.status().waiting
    return session


@pytest.mark.parametrize('pace', Pace)
def test_nothing_is_sent_while_the_person_thinks(pace: Pace) -> None:
    session = thinking(pace)
    for _ in range(100):
        session.now += 0.1
        assert session.show() is None
        assert session.propose('operator', idle=True) is None
    status = session.mux.status()
    assert status.waiting
    assert not status.holding
    assert session.phase is Phase.CORRECTING
    assert status.human_time == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize('pace', Pace)
def test_time_goes_on_with_the_first_motion_and_no_hold_comes_between(pace: Pace) -> None:
    session = thinking(pace)
    for _ in range(20):
        session.now += 0.1
        session.propose('operator', idle=True)
    sent = only(session.propose('operator', MIDDLE + 0.02))
    assert (sent.source, sent.step) == (Source.OPERATOR, session.rig.step)
    assert not session.mux.status().waiting
    # The rig has its period to make the step.
    assert session.wait(0.11) is None
    session.next_step()
    assert only(session.propose('operator', MIDDLE + 0.04)).source is Source.OPERATOR
    session.next_step()
    assert session.propose('operator', MIDDLE + 0.04, idle=True) is None
    assert session.mux.status().waiting


@pytest.mark.parametrize('pace', Pace)
def test_until_the_rig_says_so_it_is_driven_as_before(pace: Pace) -> None:
    session = correcting(pace)
    session.next_step()
    assert only(session.propose('operator', idle=True)).source is Source.OPERATOR
    assert not session.mux.status().waiting


@pytest.mark.parametrize('pace', Pace)
@pytest.mark.parametrize(
    'option', [{'can_set_pace': False}, {'on_input': False}], ids=['cannot', 'switched off']
)
def test_a_rig_that_cannot_or_must_not_is_not_asked(pace: Pace, option: dict[str, bool]) -> None:
    session = correcting(pace, **option)
    for _ in range(3):
        session.next_step()
        assert only(session.propose('operator', idle=True)).source is Source.OPERATOR
        session.obey()
    assert session.asked == []


@pytest.mark.parametrize('event', [Event.RELEASE, Event.PAUSE, Event.LOCK])
def test_time_runs_always_again_when_the_operator_has_left(event: Event) -> None:
    session = thinking(Pace.REALTIME)
    session.mux.request(event, 'ada')
    session.poll()
    session.obey()
    assert session.asked == [Advance.ON_INPUT, Advance.ALWAYS]
    assert session.rig.mode is Mode.PAUSED
    assert not session.mux.status().waiting


def test_who_thinks_and_is_lost_is_lost() -> None:
    session = thinking(Pace.LOCKSTEP)
    assert session.wait(OPERATOR_TIMEOUT + 0.01) is None
    assert session.phase is Phase.PAUSED
    assert not session.mux.status().waiting


def test_what_the_rig_refuses_is_asked_again_at_the_next_takeover() -> None:
    session = correcting(Pace.REALTIME)
    session.poll()
    pace = session.mux.rig_pace
    assert pace.next_question() is Advance.ON_INPUT
    pace.refuse(Advance.ON_INPUT)
    for _ in range(50):
        session.now += 0.1
        session.next_step()
        assert only(session.propose('operator', idle=True)).source is Source.OPERATOR
        assert pace.next_question() is None
    session.mux.request(Event.RELEASE, 'ada')
    session.obey()
    session.mux.request(Event.TAKE_OVER, 'ada')
    session.obey()
    only(session.propose('operator', idle=True))
    session.poll()
    assert pace.next_question() is Advance.ON_INPUT


def test_a_question_that_gets_lost_is_asked_again() -> None:
    session = correcting(Pace.REALTIME)
    session.poll()
    pace = session.mux.rig_pace
    assert pace.next_question() is Advance.ON_INPUT
    session.now += COMMAND_TIMEOUT
    assert pace.next_question() is None
    session.now += 0.01
    assert pace.next_question() is Advance.ON_INPUT


def test_the_policy_is_never_waited_for_like_this() -> None:
    session = Session(Pace.REALTIME, can_set_pace=True)
    session.drive(Event.RESUME)
    session.show(advance=Advance.ON_INPUT)
    session.next_step()
    assert only(session.propose('policy', idle=True)).source is Source.POLICY
    np.testing.assert_array_equal(session.sent[-1].values, MIDDLE)
