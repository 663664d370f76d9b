# SPDX-License-Identifier: Apache-2.0
"""Which action answers which step, case by case."""

from __future__ import annotations

import numpy as np
import pytest

from hiwm_core.observation import Observation
from hiwm_policy.chunk import ChunkSchedule, Request

CHUNK = np.arange(16, dtype=float).reshape(8, 2)


def seen(number: int) -> Observation:
    """An observation that can be told from others."""
    return Observation(np.full((2, 2, 3), number, np.uint8), np.zeros(2))


def numbers(request: Request | None) -> list[int]:
    assert request is not None
    return [int(observation.frame[0, 0, 0]) for observation in request.history]


@pytest.fixture
def schedule() -> ChunkSchedule:
    """A policy that looks at two observations and executes four of its eight actions."""
    return ChunkSchedule(context=2, chunk_steps=4)


def asked(schedule: ChunkSchedule, step: int, epoch: int = 1) -> Request:
    schedule.observe(epoch, step, node=100 * epoch + step, observation=seen(step))
    request = schedule.request()
    assert request is not None
    return request


def test_nothing_is_asked_before_the_first_frame(schedule: ChunkSchedule) -> None:
    assert schedule.request() is None and schedule.answer() is None


def test_a_chunk_answers_its_step_and_the_next_ones(schedule: ChunkSchedule) -> None:
    schedule.complete(asked(schedule, 0), CHUNK)
    for step in range(4):
        schedule.observe(1, step, 100 + step, seen(step))
        epoch, answered, values = schedule.answer() or (0, 0, CHUNK[0])
        assert (epoch, answered) == (1, step)
        np.testing.assert_array_equal(values, CHUNK[step])
        assert schedule.request() is None
        schedule.executed(1, by_policy=True)
    schedule.observe(1, 4, 104, seen(4))
    assert schedule.answer() is None
    assert numbers(schedule.request()) == [3, 4]


def test_a_step_is_asked_for_once(schedule: ChunkSchedule) -> None:
    asked(schedule, 0)
    assert schedule.request() is None


def test_a_frame_that_is_shown_again_is_no_new_observation(schedule: ChunkSchedule) -> None:
    asked(schedule, 0)
    schedule.observe(1, 0, 100, seen(9))
    assert schedule.request() is None
    assert numbers(asked(schedule, 1)) == [0, 1]


def test_a_new_epoch_begins_with_the_restored_past(schedule: ChunkSchedule) -> None:
    schedule.complete(asked(schedule, 7), CHUNK)
    for step in (3, 4):
        schedule.observe(2, step, 100 + step, seen(step), context=True)
        assert schedule.request() is None and schedule.answer() is None
    schedule.observe(2, 5, 105, seen(5))
    assert numbers(schedule.request()) == [4, 5]


def test_a_chunk_of_an_older_epoch_is_dropped(schedule: ChunkSchedule) -> None:
    late = asked(schedule, 7)
    asked(schedule, 5, epoch=2)
    schedule.complete(late, CHUNK)
    assert schedule.answer() is None


def test_a_late_chunk_answers_the_step_that_has_come_meanwhile(schedule: ChunkSchedule) -> None:
    late = asked(schedule, 0)
    schedule.observe(1, 1, 101, seen(1))
    schedule.complete(late, CHUNK)
    answer = schedule.answer()
    assert answer is not None and answer[1] == 1
    np.testing.assert_array_equal(answer[2], CHUNK[1])


def test_an_older_chunk_does_not_replace_a_newer(schedule: ChunkSchedule) -> None:
    first, second = asked(schedule, 0), asked(schedule, 1)
    schedule.complete(second, CHUNK)
    schedule.complete(first, CHUNK + 100)
    answer = schedule.answer()
    assert answer is not None
    np.testing.assert_array_equal(answer[2], CHUNK[0])


def test_while_somebody_else_drives_the_policy_looks_again_at_every_step(
    schedule: ChunkSchedule,
) -> None:
    schedule.complete(asked(schedule, 0), CHUNK)
    for step in (1, 2, 3):
        schedule.executed(1, by_policy=False)
        request = asked(schedule, step)
        assert numbers(request) == [step - 1, step]
        schedule.complete(request, CHUNK)
        assert schedule.answer() is not None


def test_after_the_hand_back_the_chunk_goes_on(schedule: ChunkSchedule) -> None:
    schedule.complete(asked(schedule, 0), CHUNK)
    schedule.executed(1, by_policy=False)
    schedule.complete(asked(schedule, 1), CHUNK)
    schedule.executed(1, by_policy=True)
    schedule.observe(1, 2, 102, seen(2))
    answer = schedule.answer()
    assert answer is not None
    np.testing.assert_array_equal(answer[2], CHUNK[1])
