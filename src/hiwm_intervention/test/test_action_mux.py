# SPDX-License-Identifier: Apache-2.0
"""The multiplexer, case by case, on a clock that the test holds in its hand."""

from __future__ import annotations

import math

from mux_session import (
    POLICY_TIMEOUT,
    SETTINGS,
    Session,
    only,
    operator_driven,
    policy_driven,
)
import numpy as np
import pytest

from hiwm_core.action import Action, Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode, Pace
from hiwm_intervention.rig_mode import Command
from hiwm_intervention.takeover import Event, Phase

# -- answering a step ------------------------------------------------------------------------------


@pytest.mark.parametrize('pace', Pace)
def test_the_answer_to_this_step_goes_out_at_once_and_once(pace: Pace) -> None:
    session = policy_driven(pace)
    assert session.next_step() is None
    sent = only(session.propose('policy', np.array([0.3, 0.2])))
    assert (sent.source, sent.epoch, sent.step, sent.device) == (Source.POLICY, 1, 1, 'policy')
    np.testing.assert_array_equal(sent.values, [0.3, 0.2])
    assert session.propose('policy', np.array([0.2, 0.2])) is None
    assert session.wait(0.05) is None


@pytest.mark.parametrize('pace', Pace)
def test_an_answer_that_comes_before_the_state_waits_for_it(pace: Pace) -> None:
    session = policy_driven(pace)
    session.propose('policy')
    assert session.propose('policy', np.array([0.3, 0.3]), step=1) is None
    sent = only(session.next_step())
    np.testing.assert_array_equal(sent.values, [0.3, 0.3])


def test_sequence_numbers_and_counts_go_on() -> None:
    session = policy_driven()
    numbers = []
    for _ in range(5):
        session.next_step()
        numbers.append(only(session.propose('policy')).seq)
    assert numbers == [0, 1, 2, 3, 4]
    status = session.mux.status()
    assert (status.sent_actions, status.held_actions, status.step) == (5, 0, 5)


def test_realtime_takes_an_older_proposal_after_60_percent_and_holds_after_the_timeout() -> None:
    session = policy_driven()
    session.propose('policy', np.array([0.3, 0.2]))
    session.now += 0.1
    session.next_step()
    assert session.wait(0.059) is None
    sent = only(session.wait(0.002))
    assert (sent.source, sent.step) == (Source.POLICY, 1)
    session.now += POLICY_TIMEOUT
    session.joints = np.array([0.31, 0.22])
    session.next_step()
    assert session.wait(0.059) is None
    held = only(session.wait(0.002))
    assert held.source is Source.HOLD
    np.testing.assert_array_equal(held.values, [0.31, 0.22])
    status = session.mux.status()
    assert status.holding
    assert 'policy' in status.reason
    session.next_step()
    session.propose('policy', session.joints)
    assert not session.mux.status().holding
    assert session.mux.status().reason == ''


def test_realtime_sends_an_answer_once_more_and_then_holds() -> None:
    session = policy_driven()
    session.propose('policy', np.array([0.3, 0.2]))
    session.next_step()
    assert only(session.wait(0.061)).source is Source.POLICY
    # It is far younger than the timeout, and nobody knows whether the policy is still there.
    session.next_step()
    assert only(session.wait(0.061)).source is Source.HOLD
    assert session.mux.status().reason == "the source 'policy' is late"
    session.next_step()
    assert only(session.propose('policy', session.joints)).source is Source.POLICY
    assert not session.mux.status().holding


@pytest.mark.parametrize('pace', Pace)
def test_a_policy_that_is_two_seconds_late_all_the_time_never_drives(pace: Pace) -> None:
    session = policy_driven(pace)
    session.show(step=100)
    session.wait(POLICY_TIMEOUT + 0.01)
    for _ in range(30):
        session.next_step()
        session.propose('policy', np.array([0.3, 0.2]), step=session.rig.step - 20)
        held = only(session.wait(0.061) or session.wait(POLICY_TIMEOUT))
        assert (held.source, held.step) == (Source.HOLD, session.rig.step)
    assert session.mux.status().holding
    assert "'policy' is" in session.mux.status().reason


@pytest.mark.parametrize('driven', [policy_driven, operator_driven])
def test_a_recording_that_fails_pauses_and_nobody_drives_unrecorded(driven: object) -> None:
    session = driven(Pace.REALTIME)  # type: ignore[operator]
    session.next_step()
    session.mux.set_recording(False, 'the disk is full')
    assert session.phase is Phase.PAUSED
    assert session.mux.status().reason == 'the recording has failed: the disk is full'
    assert session.mux.next_command() is Command.PAUSE
    assert only(session.wait(0.1)).source is Source.HOLD
    session.show(mode=Mode.PAUSED)
    for event in (Event.RESUME, Event.TAKE_OVER):
        with pytest.raises(HiwmError, match='the disk is full') as refusal:
            session.mux.request(event, 'ada')
        assert refusal.value.code is ErrorCode.STORAGE_FAULT
    # Another recorder goes on.
    session.mux.set_recording(True)
    assert session.mux.request(Event.RESUME, 'ada') is Phase.AUTONOMOUS


def test_lockstep_waits_for_the_answer_until_the_timeout_then_holds_once() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    session.propose('policy')
    session.next_step()
    assert session.wait(POLICY_TIMEOUT - 0.01) is None
    assert session.propose('policy', step=0) is None
    assert only(session.wait(0.02)).source is Source.HOLD
    assert session.wait(10.0) is None
    session.next_step()
    assert only(session.propose('policy')).source is Source.POLICY


def test_a_silent_rig_in_realtime_does_not_silence_the_hold() -> None:
    session = policy_driven()
    session.next_step()
    session.propose('policy')
    assert session.wait(0.49) is None
    first = only(session.wait(0.02))
    assert (first.source, first.step) == (Source.HOLD, 1)
    assert session.wait(0.05) is None
    assert only(session.wait(0.06)).source is Source.HOLD
    assert 'shows nothing new' in session.mux.status().reason


@pytest.mark.parametrize('name', SETTINGS.sources)
@pytest.mark.parametrize('pace', Pace)
def test_whoever_falls_silent_is_held_for_and_it_is_said(name: str, pace: Pace) -> None:
    session = Session(pace, can_pause=False)
    session.show(mode=Mode.RUNNING)
    session.mux.request(Event.RESUME if name == 'policy' else Event.TAKE_OVER, 'ada')
    session.next_step()
    only(session.propose(name))
    session.next_step()
    timeout = SETTINGS.sources[name].timeout
    session.now += timeout + 0.01
    session.next_step()
    held = session.poll() or session.wait(0.11) or session.wait(timeout)
    assert only(held or session.sent[-1]).source is Source.HOLD
    assert session.sent[-1].step == session.rig.step
    status = session.mux.status()
    expected = f"'{name}' is silent" if name == 'policy' else 'dead-man stay away'
    assert expected in status.reason
    assert status.held_actions >= 1


def test_a_slow_rig_in_lockstep_is_left_alone() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    session.next_step()
    session.propose('policy')
    assert session.wait(30.0) is None


def test_a_paused_rig_is_sent_nothing() -> None:
    session = Session()
    assert session.show() is None
    assert session.propose('policy') is None
    assert session.wait(10.0) is None


def test_the_policys_answer_does_not_age_while_the_rig_stands() -> None:
    session = Session(Pace.LOCKSTEP)
    session.show()
    session.propose('policy', np.array([0.3, 0.3]))
    session.now += 100.0
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    sent = only(session.show(mode=Mode.RUNNING))
    assert sent.source is Source.POLICY
    np.testing.assert_array_equal(sent.values, [0.3, 0.3])


def test_a_step_that_was_answered_as_the_rig_stopped_is_answered_again() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    only(session.propose('policy'))
    session.mux.request(Event.PAUSE, '')
    session.obey()
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    assert only(session.show(mode=Mode.RUNNING)).source is Source.POLICY


# -- what is rejected ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('values', 'names'),
    [
        ([math.nan, 0.2], None),
        ([0.2, math.inf], None),
        ([0.2, -math.inf], None),
        ([0.2], None),
        ([0.2, 0.2, 0.2], None),
        ([0.2, 0.2], ('x', 'z')),
        ([0.2, 0.2], ('x', 'x')),
        ([0.2, 0.2, 0.2], ('x', 'y', 'z')),
        ([], ()),
    ],
)
@pytest.mark.parametrize('source', ['policy', 'operator'])
def test_what_is_no_action_is_counted_and_never_sent(
    values: list[float], names: tuple[str, ...] | None, source: str
) -> None:
    session = policy_driven() if source == 'policy' else operator_driven()
    session.next_step()
    with pytest.raises(HiwmError, match=source):
        session.mux.propose(
            source,
            names if names is not None else session.task.action_names,
            values,
            Action(np.empty(0), Source.NONE, 1, session.rig.step),
        )
    assert session.mux.poll() is None
    assert session.mux.status().rejected_actions == 1
    assert only(session.wait(0.4)).source in {Source.HOLD, Source.OPERATOR}


def test_names_are_matched_not_positions() -> None:
    session = policy_driven()
    session.next_step()
    sent = only(session.propose('policy', np.array([0.2, 0.3]), names=('y', 'x')))
    np.testing.assert_array_equal(sent.values, [0.3, 0.2])


def test_values_outside_the_limits_are_clipped() -> None:
    session = policy_driven()
    session.joints = np.array([0.5, 0.01])
    session.next_step()
    sent = only(session.propose('policy', np.array([0.6, -0.05])))
    np.testing.assert_array_equal(sent.values, [0.512, 0.0])


# -- epochs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize('driven', [policy_driven, operator_driven])
def test_a_new_epoch_pauses_and_voids_what_was_proposed(driven: object) -> None:
    session = driven(Pace.REALTIME)  # type: ignore[operator]
    session.next_step()
    assert session.show(epoch=2, step=0, mode=Mode.PAUSED) is None
    assert session.phase is Phase.PAUSED
    assert session.mux.status().operator_id == ''
    assert session.propose('policy', np.array([0.3, 0.3]), epoch=1) is None
    session.mux.request(Event.RESUME, '')
    session.obey()
    # Nothing of the old epoch is left, so that there is nothing but hold.
    assert only(session.wait(0.07)).source is Source.HOLD
    session.next_step()
    assert only(session.propose('policy')).epoch == 2


def test_an_answer_to_the_new_epoch_may_come_before_its_state() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    session.propose('policy', np.array([0.3, 0.3]), epoch=2, step=0)
    session.show(epoch=2, step=0, mode=Mode.PAUSED)
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    assert only(session.show(mode=Mode.RUNNING)).epoch == 2


def test_a_rollback_under_way_of_a_resume_ends_paused() -> None:
    session = Session()
    session.show()
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    session.show(epoch=2, mode=Mode.PAUSED)
    # The resume may still arrive at the rig: it is paused again.
    assert session.mux.next_command() is Command.PAUSE
    assert session.phase is Phase.PAUSED
