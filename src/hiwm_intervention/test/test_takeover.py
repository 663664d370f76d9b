# SPDX-License-Identifier: Apache-2.0
"""The takeover table: every legal pair leads where it should, every other pair is refused."""

from __future__ import annotations

from itertools import product

from hiwm_msgs.msg import MuxState
from hiwm_msgs.srv import Takeover as TakeoverService
import pytest

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_intervention.takeover import (
    ASK_LASTS,
    HELD_BY_OPERATOR,
    REQUESTS,
    TABLE,
    Event,
    Phase,
    Takeover,
)

# phase, event, phase afterwards; spelled out once more, so that a slip in the table shows.
LEGAL = """
AUTONOMOUS pause PAUSED
AUTONOMOUS take_over HANDOVER
AUTONOMOUS lock LOCKED
AUTONOMOUS discontinuity PAUSED
AUTONOMOUS rig_stopped PAUSED
AUTONOMOUS triggered PAUSED
AUTONOMOUS recording_failed PAUSED
PAUSED resume AUTONOMOUS
PAUSED take_over HANDOVER
PAUSED lock LOCKED
PAUSED discontinuity PAUSED
PAUSED recording_failed PAUSED
HANDOVER aligned CORRECTING
HANDOVER pause PAUSED
HANDOVER release PAUSED
HANDOVER ask HANDOVER
HANDOVER lock LOCKED
HANDOVER operator_lost PAUSED
HANDOVER discontinuity PAUSED
HANDOVER rig_stopped PAUSED
HANDOVER recording_failed PAUSED
CORRECTING release PAUSED
CORRECTING pause PAUSED
CORRECTING ask CORRECTING
CORRECTING lock LOCKED
CORRECTING operator_lost PAUSED
CORRECTING discontinuity PAUSED
CORRECTING rig_stopped PAUSED
CORRECTING recording_failed PAUSED
LOCKED lock LOCKED
LOCKED reset PAUSED
"""
EXPECTED = {
    (Phase[before], Event[event.upper()]): Phase[after]
    for before, event, after in (line.split() for line in LEGAL.strip().splitlines())
}
WAYS = {
    Phase.PAUSED: [],
    Phase.AUTONOMOUS: [Event.RESUME],
    Phase.HANDOVER: [Event.TAKE_OVER],
    Phase.CORRECTING: [Event.TAKE_OVER, Event.ALIGNED],
    Phase.LOCKED: [Event.LOCK],
}


class Steady:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def takeover_in(phase: Phase, operator: str = 'ada', clock: Steady | None = None) -> Takeover:
    """A takeover that has reached a phase."""
    takeover = Takeover(clock or Steady())
    for event in WAYS[phase]:
        if event in REQUESTS:
            takeover.request(event, operator)
        else:
            assert takeover.observe(event)
    assert takeover.phase is phase
    return takeover


@pytest.mark.parametrize(('phase', 'event'), list(product(Phase, Event)))
def test_every_pair(phase: Phase, event: Event) -> None:
    takeover = takeover_in(phase)
    after = EXPECTED.get((phase, event))
    who = 'grace' if event is Event.ASK else 'ada'
    if after is not None and event in REQUESTS:
        assert takeover.request(event, who) is after
    elif after is not None:
        assert takeover.observe(event)
    elif event in REQUESTS:
        with pytest.raises(HiwmError) as refusal:
            takeover.request(event, who)
        assert refusal.value.code is ErrorCode.ILLEGAL_EVENT
        assert phase.name in refusal.value.message
        assert event.name.lower() in refusal.value.message
    else:
        assert not takeover.observe(event)
    assert takeover.phase is (after or phase)
    if after is None:
        held = phase in HELD_BY_OPERATOR
        assert (takeover.operator_id, takeover.asked_by) == ('ada' if held else '', '')


def test_the_table_has_nothing_else() -> None:
    assert TABLE == EXPECTED


def test_the_numbers_are_those_of_the_messages() -> None:
    for phase in Phase:
        assert getattr(MuxState, f'PHASE_{phase.name}') == phase
    for event in REQUESTS:
        assert getattr(TakeoverService.Request, f'EVENT_{event.name}') == event


@pytest.mark.parametrize('phase', [Phase.HANDOVER, Phase.CORRECTING])
@pytest.mark.parametrize('event', [Event.TAKE_OVER, Event.RELEASE])
def test_the_token_has_one_owner(phase: Phase, event: Event) -> None:
    takeover = takeover_in(phase)
    with pytest.raises(HiwmError) as refusal:
        takeover.request(event, 'grace')
    assert refusal.value.code is ErrorCode.TOKEN_HELD
    assert "'ada'" in refusal.value.message
    assert (takeover.phase, takeover.operator_id) == (phase, 'ada')


@pytest.mark.parametrize('event', [Event.PAUSE, Event.LOCK])
def test_anybody_may_stop(event: Event) -> None:
    takeover = takeover_in(Phase.CORRECTING)
    takeover.request(event, 'grace')
    assert takeover.operator_id == ''


def test_the_token_ends_with_the_correction() -> None:
    takeover = takeover_in(Phase.CORRECTING)
    takeover.request(Event.RELEASE, 'ada')
    takeover.request(Event.TAKE_OVER, 'grace')
    assert takeover.operator_id == 'grace'


def test_a_takeover_needs_a_name() -> None:
    takeover = Takeover()
    with pytest.raises(HiwmError) as refusal:
        takeover.request(Event.TAKE_OVER, '')
    assert refusal.value.code is ErrorCode.INVALID_ARGUMENT
    assert takeover.phase is Phase.PAUSED


# -- asking for the token --------------------------------------------------------------------------


def test_asking_is_seen_and_changes_nothing_else() -> None:
    takeover = takeover_in(Phase.CORRECTING)
    assert takeover.request(Event.ASK, 'grace') is Phase.CORRECTING
    assert (takeover.operator_id, takeover.asked_by) == ('ada', 'grace')
    with pytest.raises(HiwmError) as refusal:
        takeover.request(Event.TAKE_OVER, 'grace')
    assert refusal.value.code is ErrorCode.TOKEN_HELD


def test_a_question_ends_by_itself_and_is_prolonged_by_asking_again() -> None:
    clock = Steady()
    takeover = takeover_in(Phase.CORRECTING, clock=clock)
    takeover.request(Event.ASK, 'grace')
    clock.now += ASK_LASTS - 1.0
    assert takeover.asked_by == 'grace'
    takeover.request(Event.ASK, 'grace')
    clock.now += ASK_LASTS
    assert takeover.asked_by == 'grace'
    clock.now += 0.1
    assert takeover.asked_by == ''
    takeover.request(Event.ASK, 'joan')
    assert takeover.asked_by == 'joan'


def test_who_asked_can_take_it_back_and_nothing_else_happens() -> None:
    takeover = takeover_in(Phase.CORRECTING)
    takeover.request(Event.ASK, 'grace')
    assert takeover.request(Event.RELEASE, 'grace') is Phase.CORRECTING
    assert (takeover.operator_id, takeover.asked_by) == ('ada', '')
    with pytest.raises(HiwmError) as refusal:
        takeover.request(Event.RELEASE, 'grace')
    assert refusal.value.code is ErrorCode.TOKEN_HELD


@pytest.mark.parametrize('event', [Event.RELEASE, Event.PAUSE, Event.LOCK])
def test_a_question_ends_with_the_token(event: Event) -> None:
    takeover = takeover_in(Phase.HANDOVER)
    takeover.request(Event.ASK, 'grace')
    takeover.request(event, 'ada')
    assert takeover.asked_by == ''


@pytest.mark.parametrize(
    ('who', 'code'),
    [
        ('', ErrorCode.INVALID_ARGUMENT),
        ('ada', ErrorCode.INVALID_ARGUMENT),
        ('joan', ErrorCode.TOKEN_HELD),
    ],
)
def test_a_question_that_cannot_be_asked(who: str, code: ErrorCode) -> None:
    takeover = takeover_in(Phase.CORRECTING)
    takeover.request(Event.ASK, 'grace')
    with pytest.raises(HiwmError) as refusal:
        takeover.request(Event.ASK, who)
    assert refusal.value.code is code
    assert takeover.asked_by == 'grace'


# -- the person's time -----------------------------------------------------------------------------


def test_human_time_is_that_of_all_takeovers() -> None:
    clock = Steady()
    takeover = takeover_in(Phase.AUTONOMOUS, clock=clock)
    clock.now += 100.0
    assert takeover.human_time == 0.0
    takeover.request(Event.TAKE_OVER, 'ada')
    clock.now += 2.0
    assert takeover.human_time == 2.0
    takeover.observe(Event.ALIGNED)
    takeover.request(Event.ASK, 'grace')
    clock.now += 3.0
    takeover.request(Event.RELEASE, 'ada')
    clock.now += 100.0
    assert takeover.human_time == 5.0
    takeover.request(Event.TAKE_OVER, 'grace')
    clock.now += 1.0
    takeover.request(Event.LOCK, '')
    clock.now += 100.0
    assert takeover.human_time == 6.0
