# SPDX-License-Identifier: Apache-2.0
"""The multiplexer as people take over, hand back, pause and lock."""

from __future__ import annotations

from mux_session import (
    OPERATOR_TIMEOUT,
    SETTINGS,
    Session,
    only,
    operator_driven,
    policy_driven,
)
import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode, Pace
from hiwm_intervention.rig_mode import Command
from hiwm_intervention.sources import MuxSettings, SourceSettings
from hiwm_intervention.takeover import Event, Phase

# -- takeover and hand-back ------------------------------------------------------------------------


@pytest.mark.parametrize('pace', Pace)
def test_a_takeover_acts_within_one_step(pace: Pace) -> None:
    session = policy_driven(pace)
    session.next_step()
    session.propose('policy')
    session.mux.request(Event.TAKE_OVER, 'ada')
    assert session.phase is Phase.HANDOVER
    session.next_step()
    sent = only(session.propose('operator', np.array([0.26, 0.25])))
    assert sent.source is Source.OPERATOR
    assert session.phase is Phase.CORRECTING
    assert session.mux.status().operator_id == 'ada'


def test_what_the_operator_said_before_the_takeover_does_not_count() -> None:
    session = policy_driven()
    session.propose('operator', np.array([0.3, 0.3]), step=1)
    session.mux.request(Event.TAKE_OVER, 'ada')
    session.next_step()
    assert only(session.wait(0.07)).source is Source.HOLD
    assert session.phase is Phase.HANDOVER


def test_the_policy_does_not_act_while_a_person_drives() -> None:
    session = operator_driven()
    session.next_step()
    assert session.propose('policy', np.array([0.3, 0.3])) is None
    assert only(session.propose('operator')).source is Source.OPERATOR


def test_an_operator_out_of_reach_is_led_there_by_a_ramp() -> None:
    session = Session()
    session.drive(Event.TAKE_OVER)
    target = np.array([0.5, 0.05])
    sources = []
    for _ in range(6):
        before = session.joints
        sent = session.propose('operator', target)
        sent = only(sent)
        sources.append(sent.source)
        assert (np.abs(sent.values - before) <= session.task.action_max_step + 1e-12).all()
        session.joints = sent.values
        session.next_step()
    assert sources == [Source.HANDOVER] * 2 + [Source.OPERATOR] * 4
    np.testing.assert_array_equal(session.joints, target)


def test_letting_go_of_the_dead_man_pauses() -> None:
    session = operator_driven()
    session.next_step()
    assert only(session.propose('operator', deadman=False)).source is Source.HOLD
    assert session.phase is Phase.PAUSED
    assert 'let go' in session.mux.status().reason
    assert session.mux.next_command() is Command.PAUSE


def test_lost_samples_pause() -> None:
    session = operator_driven()
    session.wait(OPERATOR_TIMEOUT + 0.01)
    assert session.phase is Phase.PAUSED
    assert 'stay away' in session.mux.status().reason
    assert session.mux.next_command() is Command.PAUSE


def test_samples_that_answer_an_old_step_keep_the_wheel() -> None:
    session = operator_driven(Pace.LOCKSTEP)
    session.next_step()
    for _ in range(3):
        session.now += OPERATOR_TIMEOUT / 4
        assert session.propose('operator', step=0) is None
    session.now += OPERATOR_TIMEOUT / 2
    assert only(session.propose('operator', step=0)).source is Source.HOLD
    assert session.phase is Phase.CORRECTING


def test_a_dead_man_that_nobody_presses_pauses() -> None:
    session = Session()
    session.drive(Event.TAKE_OVER)
    session.propose('operator', deadman=False)
    assert session.phase is Phase.HANDOVER
    session.wait(5.01)
    assert session.phase is Phase.PAUSED
    assert 'nobody pressed' in session.mux.status().reason


def test_after_a_hand_back_the_policy_answers_a_step_that_it_saw_since() -> None:
    session = operator_driven(Pace.LOCKSTEP)
    session.next_step()
    session.propose('policy', np.array([0.3, 0.3]))
    session.mux.request(Event.RELEASE, 'ada')
    session.obey()
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    held = only(session.show(mode=Mode.RUNNING))
    assert held.source is Source.HOLD
    assert not session.mux.status().holding
    session.next_step()
    assert only(session.propose('policy')).source is Source.POLICY


def test_realtime_does_not_fall_back_on_an_answer_from_before_the_hand_back() -> None:
    session = operator_driven()
    session.next_step()
    session.propose('policy', np.array([0.3, 0.3]))
    session.mux.request(Event.RELEASE, 'ada')
    session.obey()
    session.mux.request(Event.RESUME, '')
    session.obey()
    session.next_step()
    assert only(session.wait(0.07)).source is Source.HOLD


def test_a_policy_out_of_reach_after_the_hand_back_is_a_ramp() -> None:
    session = operator_driven()
    session.mux.request(Event.RELEASE, 'ada')
    session.obey()
    session.mux.request(Event.RESUME, '')
    session.obey()
    sources = []
    for _ in range(4):
        session.next_step()
        sent = only(session.propose('policy', np.array([0.5, 0.25])))
        sources.append(sent.source)
        session.joints = sent.values
    assert sources == [Source.HANDOVER] * 2 + [Source.POLICY] * 2


def test_a_mere_pause_is_no_hand_back() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    session.propose('policy')
    session.next_step()
    session.mux.request(Event.PAUSE, '')
    session.propose('policy', np.array([0.3, 0.3]))
    session.obey()
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is Command.RESUME
    assert only(session.show(mode=Mode.RUNNING)).source is Source.POLICY


# -- more than one device --------------------------------------------------------------------------


def test_the_pressed_device_of_the_highest_priority_drives() -> None:
    leader = SourceSettings('leader', '/leader/action', timeout=0.5, priority=110)
    settings = MuxSettings({**SETTINGS.sources, 'leader': leader}, SETTINGS.locks)
    session = Session(settings=settings)
    session.drive(Event.TAKE_OVER)
    session.propose('operator', np.array([0.26, 0.25]))
    session.next_step()
    session.propose('leader', np.array([0.2, 0.25]), deadman=False)
    assert only(session.propose('operator', np.array([0.26, 0.25]))).device == 'operator'
    session.next_step()
    assert only(session.propose('leader', np.array([0.27, 0.25]))).device == 'leader'
    session.next_step()
    assert session.propose('operator', np.array([0.26, 0.25])) is None
    assert only(session.propose('leader', np.array([0.27, 0.25]))).device == 'leader'


# -- the rig's mode --------------------------------------------------------------------------------


def test_autonomy_at_the_start_waits_for_policy_and_rig() -> None:
    session = Session(Pace.LOCKSTEP, autonomous_at_start=True)
    session.propose('policy', np.array([0.3, 0.3]))
    assert session.phase is Phase.PAUSED
    session.show(epoch=2)
    assert session.phase is Phase.PAUSED
    session.propose('policy', np.array([0.3, 0.3]))
    assert session.phase is Phase.AUTONOMOUS
    assert session.mux.next_command() is Command.RESUME
    assert only(session.show(mode=Mode.RUNNING)).source is Source.POLICY


def test_autonomy_at_the_start_waits_for_the_recorder() -> None:
    session = Session(Pace.LOCKSTEP, autonomous_at_start=True, wait_for_recorder=True)
    session.show(epoch=2)
    session.propose('policy', np.array([0.3, 0.3]))
    session.mux.set_recording(False)
    session.show(epoch=2)
    assert session.phase is Phase.PAUSED
    session.mux.set_recording(True)
    session.show(epoch=2)
    assert session.phase is Phase.AUTONOMOUS


@pytest.mark.parametrize('event', [Event.RESUME, Event.TAKE_OVER])
def test_nobody_drives_before_the_recorder_records(event: Event) -> None:
    session = Session(wait_for_recorder=True)
    session.show()
    with pytest.raises(HiwmError, match='ask again once it records') as refusal:
        session.mux.request(event, 'ada')
    assert refusal.value.code is ErrorCode.NOT_READY
    assert session.phase is Phase.PAUSED
    assert session.mux.next_command() is None
    session.mux.set_recording(True)
    assert session.mux.request(event, 'ada') is not Phase.PAUSED
    # A recorder that is started again, or that is late with a word, stops nobody.
    session.mux.set_recording(False)
    session.mux.request(Event.PAUSE, 'ada')
    assert session.mux.request(event, 'ada') is not Phase.PAUSED


def test_a_person_who_was_faster_keeps_the_policy_from_starting() -> None:
    session = Session(autonomous_at_start=True)
    session.drive(Event.TAKE_OVER)
    session.mux.request(Event.PAUSE, '')
    session.obey()
    session.propose('policy')
    assert session.phase is Phase.PAUSED


@pytest.mark.parametrize('driven', [policy_driven, operator_driven])
@pytest.mark.parametrize('mode', [Mode.PAUSED, Mode.FAULT])
def test_a_rig_that_was_stopped_directly_is_followed(driven: object, mode: Mode) -> None:
    session = driven(Pace.REALTIME)  # type: ignore[operator]
    session.show(mode=mode, message='it overheated' if mode is Mode.FAULT else '')
    assert session.phase is Phase.PAUSED
    expected = 'it overheated' if mode is Mode.FAULT else 'the rig was paused'
    assert session.mux.status().reason == expected
    assert session.mux.next_command() is None


def test_states_from_before_a_resume_do_not_stop_it() -> None:
    session = Session()
    session.show()
    session.mux.request(Event.RESUME, '')
    session.show()
    assert session.mux.next_command() is Command.RESUME
    session.show()
    session.show(mode=Mode.RUNNING)
    assert session.phase is Phase.AUTONOMOUS


def test_a_resume_right_after_a_pause_is_asked_when_the_pause_is_settled() -> None:
    session = policy_driven()
    session.mux.request(Event.PAUSE, '')
    assert session.mux.next_command() is Command.PAUSE
    session.mux.request(Event.RESUME, '')
    session.show()
    assert session.mux.next_command() is None
    session.show(mode=Mode.PAUSED)
    assert session.phase is Phase.AUTONOMOUS
    assert session.mux.next_command() is Command.RESUME


@pytest.mark.parametrize('pace', Pace)
def test_a_rig_that_was_resumed_directly_is_held(pace: Pace) -> None:
    session = Session(pace)
    session.show()
    sent = session.show(mode=Mode.RUNNING) or session.wait(session.task.period)
    assert only(sent).source is Source.HOLD
    assert session.phase is Phase.PAUSED
    assert not session.mux.status().holding


def test_a_pause_under_way_moves_a_lockstep_rig_no_further() -> None:
    session = policy_driven(Pace.LOCKSTEP)
    session.propose('policy')
    session.next_step()
    session.mux.request(Event.PAUSE, '')
    assert session.mux.poll() is None
    assert session.mux.next_command() is Command.PAUSE
    assert session.wait(0.5) is None
    assert only(session.wait(2.0)).source is Source.HOLD
    assert 'could not pause' in session.mux.status().reason


@pytest.mark.parametrize('how', ['refused', 'silent'])
def test_a_rig_that_does_not_resume_is_reported(how: str) -> None:
    session = Session()
    session.show()
    session.mux.request(Event.RESUME, '')
    command = session.mux.next_command()
    assert command is Command.RESUME
    if how == 'refused':
        session.mux.command_failed(command, 'the gripper is jammed')
    else:
        session.wait(2.01)
    assert session.phase is Phase.PAUSED
    reason = session.mux.status().reason
    assert ('jammed' if how == 'refused' else 'within 2 s') in reason


def test_a_rig_that_cannot_pause_is_held_instead() -> None:
    session = Session(can_pause=False)
    session.show(mode=Mode.RUNNING)
    session.mux.request(Event.RESUME, '')
    assert session.mux.next_command() is None
    session.next_step()
    assert only(session.propose('policy')).source is Source.POLICY
    session.mux.request(Event.PAUSE, '')
    assert session.mux.next_command() is None
    assert only(session.next_step()).source is Source.HOLD


def test_nobody_drives_without_a_rig() -> None:
    session = Session()
    for event in (Event.RESUME, Event.TAKE_OVER):
        with pytest.raises(HiwmError, match='no rig') as refusal:
            session.mux.request(event, 'ada')
        assert refusal.value.code is ErrorCode.NOT_READY
    assert session.phase is Phase.PAUSED


# -- locks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('driven', [policy_driven, operator_driven])
@pytest.mark.parametrize('how', ['set', 'silent', 'asked'])
def test_a_lock_stops_everything_until_a_reset(driven: object, how: str) -> None:
    session = driven(Pace.REALTIME)  # type: ignore[operator]
    if how == 'asked':
        session.mux.request(Event.LOCK, '')
    else:
        session.mux.set_lock('e_stop', how == 'set')
        session.wait(0.0 if how == 'set' else 0.51)
    assert session.phase is Phase.LOCKED
    assert session.mux.next_command() is Command.PAUSE
    assert only(session.next_step()).source is Source.HOLD
    for event in (Event.RESUME, Event.TAKE_OVER, Event.PAUSE):
        with pytest.raises(HiwmError):
            session.mux.request(event, 'ada')
    if how != 'asked':
        with pytest.raises(HiwmError, match='e_stop') as refusal:
            session.mux.request(Event.RESET, '')
        assert refusal.value.code is ErrorCode.ILLEGAL_EVENT
        session.mux.set_lock('e_stop', False)
    assert session.mux.request(Event.RESET, '') is Phase.PAUSED


def test_a_discontinuity_does_not_unlock() -> None:
    session = policy_driven()
    session.mux.request(Event.LOCK, '')
    session.show(epoch=2, step=0, mode=Mode.PAUSED)
    assert session.phase is Phase.LOCKED
