# SPDX-License-Identifier: Apache-2.0
"""The policy is paused by itself where a threshold says so, and everybody is told why."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

from hiwm_msgs.msg import MuxState
from mux_session import SETTINGS, Session, only, policy_driven
import pytest
import yaml

from hiwm_core.action import Source
from hiwm_core.error import ConfigurationError
from hiwm_core.rig import Mode, Pace
from hiwm_intervention.rig_mode import Command
from hiwm_intervention.sources import read_settings
from hiwm_intervention.takeover import Event, Phase
from hiwm_intervention.trigger import Bookmark, Threshold, Thresholds, Trigger, TriggerWatch

SHIPPED = Path(__file__).parents[1] / 'config' / 'action_mux.yaml'
FIDELITY = {Trigger.FIDELITY: Threshold(0.5, 3)}
STALL = {Trigger.STALL: Threshold(0.02, 4)}
SPREAD = {Trigger.SPREAD: Threshold(1.0, 2)}
NAN = math.nan

# trigger, the numbers step by step, at which of them it fires (none: never).
CASES = [
    (FIDELITY, [0.9, 0.4, 0.4, 0.4], 3),
    (FIDELITY, [0.4, 0.4, 0.5, 0.4, 0.4], None),
    (FIDELITY, [0.4, 0.4, NAN, 0.4, 0.4], None),
    (FIDELITY, [NAN] * 10, None),
    (STALL, [0.1, 0.1, 0.1, 0.1, 0.1], 4),
    (STALL, [0.1, 0.11, 0.12, 0.1, 0.05], 4),
    (STALL, [0.1, 0.13, 0.1, 0.1, 0.1, 0.1], 5),
    (STALL, [0.1, 0.13, 0.16, 0.19, 0.22, 0.25], None),
    (STALL, [0.1, 0.1, NAN, 0.1, 0.1], None),
    (STALL, [0.97] * 10, None),
    (SPREAD, [1.1, 1.2], 1),
    (SPREAD, [1.1, 1.0, 1.1, 0.9, 3.0], None),
    (SPREAD, [NAN] * 10, None),
]


@pytest.mark.parametrize(('thresholds', 'values', 'fires_at'), CASES)
def test_the_table_of_triggers(
    thresholds: Thresholds, values: list[float], fires_at: int | None
) -> None:
    (trigger,) = thresholds
    watch = TriggerWatch(thresholds, done_above=0.95)
    fired = [bool(watch.see(trigger, value)) for value in values]
    expected = [number == fires_at for number in range(len(values))]
    assert fired[: len(values) if fires_at is None else fires_at + 1] == (
        expected if fires_at is None else expected[: fires_at + 1]
    )


def test_a_trigger_that_is_off_never_fires() -> None:
    watch = TriggerWatch({}, done_above=0.95)
    for trigger in (Trigger.FIDELITY, Trigger.STALL, Trigger.SPREAD):
        assert not any(watch.see(trigger, 0.0) or watch.see(trigger, 9.0) for _ in range(200))


def test_the_numbers_are_those_of_the_message() -> None:
    for trigger in Trigger:
        assert getattr(MuxState, f'TRIGGER_{trigger.name}') == trigger


# -- in the multiplexer ----------------------------------------------------------------------------


def watched(thresholds: Thresholds, pace: Pace = Pace.LOCKSTEP) -> Session:
    return policy_driven(pace, replace(SETTINGS, triggers=thresholds))


def advance(session: Session, *, fidelity: float = NAN, progress: float = NAN) -> None:
    """One step of the policy."""
    step = session.rig.step + 1
    session.show(step=step, node=100 + step, fidelity=fidelity, progress=progress)


@pytest.mark.parametrize('pace', Pace)
def test_a_falling_fidelity_pauses_and_bookmarks(pace: Pace) -> None:
    session = watched(FIDELITY, pace)
    for _ in range(39):
        advance(session, fidelity=0.9)
        only(session.propose('policy'))
    for fidelity in (0.4, 0.3):
        advance(session, fidelity=fidelity)
        only(session.propose('policy'))
    advance(session, fidelity=0.25)
    status = session.mux.status()
    assert (status.phase, status.trigger) == (Phase.PAUSED, Trigger.FIDELITY)
    assert status.reason == 'the fidelity was below 0.5 for 3 steps (now 0.25)'
    assert session.mux.next_command() is Command.PAUSE
    assert session.mux.watch.next_bookmark() == Bookmark('fidelity-0042', 142)
    assert session.mux.watch.next_bookmark() is None


def test_a_stalled_progress_pauses() -> None:
    session = watched(STALL)
    for progress in (0.3, 0.31, 0.3, 0.3):
        advance(session, progress=progress)
        only(session.propose('policy'))
    advance(session, progress=0.3)
    status = session.mux.status()
    assert (status.phase, status.trigger) == (Phase.PAUSED, Trigger.STALL)
    assert '0.02 in 4 steps' in status.reason
    assert 'from 0.3 to 0.31' in status.reason
    assert session.mux.watch.next_bookmark() == Bookmark('stall-0005', 105)


def test_samples_that_disagree_pause_before_they_are_followed() -> None:
    session = watched(SPREAD)
    for spread in (0.2, 1.4):
        advance(session)
        assert only(session.propose('policy', spread=spread)).source is Source.POLICY
    advance(session)
    assert session.propose('policy', spread=1.7) is None
    status = session.mux.status()
    assert (status.phase, status.trigger) == (Phase.PAUSED, Trigger.SPREAD)
    assert 'now 1.7' in status.reason


def test_a_rig_that_cannot_stand_is_held() -> None:
    session = Session(settings=replace(SETTINGS, triggers=FIDELITY), can_pause=False)
    session.show(mode=Mode.RUNNING)
    session.mux.request(Event.RESUME, '')
    for _ in range(3):
        session.next_step()
        session.propose('policy')
        advance(session, fidelity=0.1)
    assert session.phase is Phase.PAUSED
    assert session.mux.next_command() is None
    session.next_step()
    assert session.sent[-1].source is Source.HOLD
    assert session.mux.status().trigger is Trigger.FIDELITY


def test_after_a_resume_it_counts_anew() -> None:
    session = watched(FIDELITY)
    for _ in range(3):
        advance(session, fidelity=0.1)
        session.propose('policy')
    assert session.phase is Phase.PAUSED
    session.obey()
    session.mux.request(Event.RESUME, '')
    session.obey()
    assert session.mux.status().trigger is Trigger.NONE
    for _ in range(2):
        advance(session, fidelity=0.1)
        session.propose('policy')
    assert session.phase is Phase.AUTONOMOUS
    advance(session, fidelity=0.1)
    assert session.phase is Phase.PAUSED


def test_frames_that_are_shown_again_do_not_count() -> None:
    session = watched(FIDELITY)
    advance(session, fidelity=0.1)
    for _ in range(5):
        session.show()
    assert session.phase is Phase.AUTONOMOUS


def test_what_led_to_the_pause_is_said_as_long_as_it_lasts() -> None:
    session = watched(FIDELITY)
    for _ in range(3):
        advance(session, fidelity=0.1)
        session.propose('policy')
    session.obey()
    session.show(epoch=2, step=0)
    assert session.mux.status().trigger is Trigger.FIDELITY
    session.mux.request(Event.TAKE_OVER, 'ada')
    assert session.mux.status().trigger is Trigger.NONE


def test_an_operator_is_not_interrupted() -> None:
    session = Session(settings=replace(SETTINGS, triggers={**FIDELITY, **STALL}))
    session.drive(Event.TAKE_OVER)
    for _ in range(10):
        only(session.propose('operator'))
        advance(session, fidelity=0.1, progress=0.1)
    assert session.phase is Phase.CORRECTING


# -- their file ------------------------------------------------------------------------------------


def test_they_are_off_in_the_shipped_file_and_switched_on_by_a_word(tmp_path: Path) -> None:
    assert read_settings(SHIPPED).triggers == {}
    data = yaml.safe_load(SHIPPED.read_text())
    for entry in data['triggers'].values():
        entry['enabled'] = True
    file = tmp_path / 'mux.yaml'
    file.write_text(yaml.safe_dump(data))
    assert read_settings(file).triggers == {
        Trigger.FIDELITY: Threshold(0.5, 5),
        Trigger.STALL: Threshold(0.02, 60),
        Trigger.SPREAD: Threshold(0.5, 5),
    }
    del data['triggers']
    file.write_text(yaml.safe_dump(data))
    assert read_settings(file).triggers == {}


@pytest.mark.parametrize(
    ('triggers', 'sentence'),
    [
        ([1], 'triggers must be a mapping'),
        ({'boredom': {}}, "there is no trigger 'boredom'; the triggers are: fidelity, stall"),
        ({'stall': {'steps': 5}}, "triggers.stall lacks the entry 'gain'"),
        ({'stall': {'gain': 'x', 'steps': 5}}, 'triggers.stall.gain must be a finite number'),
        ({'stall': {'gain': 0.1, 'steps': 0}}, 'triggers.stall.steps is 0; it must be at least 1'),
        ({'stall': {'gain': 0.1, 'steps': 1.5}}, 'triggers.stall.steps must be a whole number'),
        ({'stall': {'gain': 0.1, 'steps': 5, 'on': True}}, "unknown entry 'on'"),
        ({'stall': {'enabled': 1, 'gain': 0.1, 'steps': 5}}, 'must be true or false'),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, triggers: object, sentence: str) -> None:
    data = yaml.safe_load(SHIPPED.read_text())
    data['triggers'] = triggers
    file = tmp_path / 'mux.yaml'
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigurationError, match=sentence) as refusal:
        read_settings(file)
    assert str(file) in refusal.value.message
