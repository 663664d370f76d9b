# SPDX-License-Identifier: Apache-2.0
"""Which action answers which step, case by case."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_policy.chunk import PLAN, ChunkSchedule, Event, Outcome, Plan, Request, Sample

CHUNK = np.arange(16, dtype=float).reshape(8, 2)
NOTHING = Outcome()


def seen(number: int) -> Observation:
    """An observation that can be told from others."""
    return Observation(np.full((2, 2, 3), number, np.uint8), np.zeros(2))


def numbers(request: Request | None) -> list[int]:
    assert request is not None
    return [int(observation.frame[0, 0, 0]) for observation in request.history]


def show(schedule: ChunkSchedule, step: int, epoch: int = 1, *, context: bool = False) -> Outcome:
    return schedule.observe(epoch, step, seen(step), context=context)


def plan(schedule: ChunkSchedule, step: int, epoch: int = 1) -> Outcome:
    """Show a step that has to be asked for, and give the chunk."""
    request = show(schedule, step, epoch).request
    assert request is not None
    return schedule.receive(request, Sample(CHUNK))


def answered(outcome: Outcome, step: int, row: int, epoch: int = 1) -> None:
    """The outcome answers the step with a row of the chunk."""
    assert outcome.answer is not None
    assert (outcome.answer.epoch, outcome.answer.step) == (epoch, step)
    np.testing.assert_array_equal(outcome.answer.values, CHUNK[row])


@pytest.fixture
def schedule() -> ChunkSchedule:
    """A policy that looks at two observations and executes four of its eight actions."""
    return ChunkSchedule(context=2, chunk_steps=4)


def test_every_event_is_decided_in_every_state() -> None:
    assert set(PLAN) == set(product(Plan, Event))


def test_a_chunk_answers_the_step_it_was_planned_at_and_the_next(schedule: ChunkSchedule) -> None:
    answered(plan(schedule, 0), 0, 0)
    for step in (1, 2, 3):
        schedule.executed(1, Source.POLICY)
        outcome = show(schedule, step)
        answered(outcome, step, step)
        assert outcome.request is None
    schedule.executed(1, Source.POLICY)
    outcome = show(schedule, 4)
    assert outcome.answer is None
    assert numbers(outcome.request) == [3, 4]


def test_a_frame_that_is_shown_again_is_answered_as_before(schedule: ChunkSchedule) -> None:
    assert show(schedule, 0).request is not None
    assert show(schedule, 0) == NOTHING, 'it has been asked for'
    schedule.receive(schedule._asked, Sample(CHUNK))  # type: ignore[arg-type]
    outcome = show(schedule, 0)
    answered(outcome, 0, 0)
    assert outcome.request is None
    assert numbers(plan_request(schedule, 4)) == [0, 4], 'it is one observation, not two'


def plan_request(schedule: ChunkSchedule, step: int) -> Request:
    request = show(schedule, step).request
    assert request is not None
    return request


def test_an_older_frame_is_not_answered(schedule: ChunkSchedule) -> None:
    plan(schedule, 3)
    assert show(schedule, 2) == NOTHING


def test_a_new_epoch_begins_with_the_restored_past(schedule: ChunkSchedule) -> None:
    plan(schedule, 7)
    for step in (3, 4):
        assert show(schedule, step, 2, context=True) == NOTHING
    outcome = show(schedule, 5, 2)
    assert outcome.answer is None, 'the chunk belonged to the discarded future'
    assert numbers(outcome.request) == [4, 5]


def test_a_reset_begins_with_one_observation(schedule: ChunkSchedule) -> None:
    plan(schedule, 7)
    assert numbers(show(schedule, 0, 2).request) == [0]


def test_a_chunk_that_an_epoch_overtook_is_dropped(schedule: ChunkSchedule) -> None:
    late = plan_request(schedule, 7)
    fresh = show(schedule, 5, 2).request
    assert schedule.receive(late, Sample(CHUNK)) == NOTHING
    assert schedule.dropped == 1
    assert fresh is not None
    answered(schedule.receive(fresh, Sample(CHUNK)), 5, 0, epoch=2)


def test_a_late_chunk_answers_the_step_that_has_come_meanwhile(schedule: ChunkSchedule) -> None:
    late = plan_request(schedule, 0)
    assert show(schedule, 1) == NOTHING
    answered(schedule.receive(late, Sample(CHUNK)), 1, 1)


def test_a_chunk_that_comes_after_its_end_is_planned_anew(schedule: ChunkSchedule) -> None:
    late = plan_request(schedule, 0)
    show(schedule, 4)
    outcome = schedule.receive(late, Sample(CHUNK))
    assert outcome.answer is None
    assert numbers(outcome.request) == [0, 4]


def test_after_a_fault_the_next_frame_asks_again(schedule: ChunkSchedule) -> None:
    schedule.failed(plan_request(schedule, 0))
    assert numbers(show(schedule, 1).request) == [0, 1]


def test_while_a_person_drives_the_chunk_is_only_for_comparison(schedule: ChunkSchedule) -> None:
    plan(schedule, 0)
    for step in (1, 2, 3):
        schedule.executed(1, Source.OPERATOR)
        assert schedule.plan is Plan.STALE
        answered(show(schedule, step), step, step)
    schedule.executed(1, Source.OPERATOR)
    assert numbers(show(schedule, 4).request) == [3, 4], 'every chunk_steps it looks again'


def test_at_the_hand_back_the_newest_frame_is_planned_from(schedule: ChunkSchedule) -> None:
    plan(schedule, 0)
    schedule.executed(1, Source.HANDOVER)
    answered(show(schedule, 1), 1, 1)
    outcome = schedule.paused()
    assert outcome.answer is None
    assert numbers(outcome.request) == [0, 1]
    assert outcome.request is not None
    answered(schedule.receive(outcome.request, Sample(CHUNK)), 1, 0)
    assert schedule.paused() == NOTHING, 'nobody has driven since'


def test_at_the_hand_back_nothing_is_followed_that_was_planned_before(
    schedule: ChunkSchedule,
) -> None:
    early = show(schedule, 0).request
    assert early is not None
    for step in (1, 2, 3):
        schedule.executed(1, Source.OPERATOR)
        assert show(schedule, step) == NOTHING, 'the network is slow'
    fresh = schedule.paused().request
    assert numbers(fresh) == [2, 3], 'what the camera showed before the hand-back'
    assert schedule.receive(early, Sample(CHUNK)) == NOTHING
    assert fresh is not None
    answered(schedule.receive(fresh, Sample(CHUNK)), 3, 0)
    assert schedule.paused() == NOTHING, 'it is asked for once'


def test_a_chunk_that_a_persons_action_overtook_is_only_for_comparison(
    schedule: ChunkSchedule,
) -> None:
    early = plan_request(schedule, 0)
    schedule.executed(1, Source.OPERATOR)
    show(schedule, 1)
    answered(schedule.receive(early, Sample(CHUNK)), 1, 1)
    assert schedule.plan is Plan.STALE
    assert numbers(schedule.paused().request) == [0, 1], 'it is handed back at the newest frame'


@pytest.mark.parametrize('after', [Source.POLICY, Source.HOLD])
def test_a_chunk_from_before_a_persons_drive_is_dropped_when_they_have_let_go(
    schedule: ChunkSchedule, after: Source
) -> None:
    early = plan_request(schedule, 0)
    for step, source in ((1, Source.OPERATOR), (2, after)):
        schedule.executed(1, source)
        show(schedule, step)
    outcome = schedule.receive(early, Sample(CHUNK))
    assert outcome.answer is None
    assert numbers(outcome.request) == [1, 2]


@pytest.mark.parametrize('source', [Source.POLICY, Source.HOLD])
def test_a_slow_chunk_that_nobody_overtook_is_followed(
    schedule: ChunkSchedule, source: Source
) -> None:
    early = plan_request(schedule, 0)
    schedule.executed(1, source)
    show(schedule, 1)
    answered(schedule.receive(early, Sample(CHUNK)), 1, 1)
    assert schedule.plan is Plan.FOLLOWED


def test_a_pause_between_own_steps_changes_nothing(schedule: ChunkSchedule) -> None:
    plan(schedule, 0)
    schedule.executed(1, Source.POLICY)
    show(schedule, 1)
    assert schedule.paused() == NOTHING
    answered(show(schedule, 2), 2, 2)


def test_a_stale_chunk_is_not_driven_by_again(schedule: ChunkSchedule) -> None:
    plan(schedule, 0)
    schedule.executed(1, Source.OPERATOR)
    show(schedule, 1)
    schedule.executed(1, Source.POLICY)
    assert numbers(show(schedule, 2).request) == [1, 2]


def test_after_a_hold_the_next_frame_is_planned_from(schedule: ChunkSchedule) -> None:
    plan(schedule, 0)
    schedule.executed(1, Source.HOLD)
    assert numbers(show(schedule, 1).request) == [0, 1]


def test_what_was_executed_in_an_older_epoch_changes_nothing(schedule: ChunkSchedule) -> None:
    plan(schedule, 0, epoch=2)
    schedule.executed(1, Source.OPERATOR)
    assert schedule.plan is Plan.FOLLOWED


def test_with_a_lead_the_old_chunk_goes_on_until_the_new_one_is_there() -> None:
    schedule = ChunkSchedule(context=2, chunk_steps=4, lead=1)
    plan(schedule, 0)
    assert show(schedule, 2).request is None
    outcome = show(schedule, 3)
    answered(outcome, 3, 3)
    assert numbers(outcome.request) == [2, 3]
    outcome_late = show(schedule, 4)
    answered(outcome_late, 4, 4)
    assert outcome_late.request is None, 'it has been asked for'
    assert outcome.request is not None
    answered(schedule.receive(outcome.request, Sample(CHUNK)), 4, 1)


def test_with_a_lead_a_chunk_ends_with_its_horizon() -> None:
    schedule = ChunkSchedule(context=2, chunk_steps=4, lead=1)
    plan(schedule, 0)
    for step in range(1, 8):
        answered(show(schedule, step), step, step)
    assert show(schedule, 8).answer is None
