# SPDX-License-Identifier: Apache-2.0
"""Episodes in lockstep: each is what it would be alone, and what is looked at is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.backend import Readings
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy.lockstep import Attempt, run_attempts

FloatArray = NDArray[np.float64]


class Track:
    """A backend on which the first joint goes where it is told; frames show it in percent."""

    name = 'track'
    state_size = 2

    def __init__(self, task: Task) -> None:
        self._task = task
        self.drawn = 0

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        return np.array([[scene[0], 0.0]])

    def encode(self, frames: NDArray[np.uint8]) -> FloatArray:
        raise HiwmError('a track does not read frames', ErrorCode.NOT_SUPPORTED)

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        return np.array(actions)

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        self.drawn += len(states)
        frames = np.zeros((len(states), *self._task.frame_shape), np.uint8)
        frames[:] = np.round(100 * states[:, 0]).astype(np.uint8)[:, None, None, None]
        return frames

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        unknown = np.full(len(states), np.nan)
        return Readings(states, np.empty((len(states), 0)), 2.5 * states[:, 0], unknown, unknown)


class Climber:
    """Moves on by a key's share of two hundredths a step, four steps a chunk."""

    name = 'climber'
    context = 2
    chunk_steps = 4

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        for seen in history:
            assert seen.frame.size, 'a frame that the policy sees is drawn'
            assert seen.frame[0, 0, 0] == np.uint8(np.round(100 * seen.joints[0]))
        speed = 0.01 + 0.01 * (key % 1000) / 1000
        return history[-1].joints[0] + speed * np.array([[step, 0.0] for step in range(1, 6)])


@pytest.fixture
def track(pusht: Task) -> Track:
    return Track(pusht)


def figures(attempt: Attempt) -> tuple[int, bool, int, float]:
    return (attempt.seed, attempt.done, attempt.steps, attempt.best_progress)


def test_together_they_are_what_they_are_alone(pusht: Task, track: Track) -> None:
    seeds = [5, 1, 9, 4]
    together = run_attempts(pusht, track, Climber(), seeds)
    alone = [run_attempts(pusht, track, Climber(), [seed])[0] for seed in seeds]
    assert [figures(each) for each in together] == [figures(each) for each in alone]
    assert len({each.steps for each in together}) > 1, 'they end at different times'
    for each in together:
        assert each.done
        assert each.last.frame[0, 0, 0] == np.uint8(np.round(100 * each.last.joints[0]))


def test_frames_are_drawn_only_where_somebody_looks(pusht: Task) -> None:
    lazy, whole = Track(pusht), Track(pusht)
    first = run_attempts(pusht, lazy, Climber(), [3, 4])
    kept = run_attempts(pusht, whole, Climber(), [3, 4], keep=True)
    assert [figures(each) for each in first] == [figures(each) for each in kept]
    assert lazy.drawn < 0.8 * whole.drawn
    for each in kept:
        assert len(each.observations) == each.steps + 1 == len(each.actions) + 1
        assert all(seen.frame.size for seen in each.observations)
        for action, seen in zip(each.actions, each.observations[1:], strict=True):
            np.testing.assert_array_equal(action, seen.joints)


def test_somebody_may_end_an_episode(pusht: Task, track: Track) -> None:
    over: list[int] = []
    attempts = run_attempts(
        pusht,
        track,
        Climber(),
        [1, 2],
        keep=True,
        stop=lambda attempt: attempt.seed == 2 and attempt.steps == 3,
        finished=lambda attempt: over.append(attempt.seed),
    )
    assert attempts[0].done
    assert (attempts[1].done, attempts[1].steps) == (False, 3)
    assert over == [2, 1]


def test_the_tasks_patience_ends_them_all(pusht: Task, track: Track) -> None:
    short = replace(pusht, episode_steps=2)
    attempts = run_attempts(short, track, Climber(), [1, 2])
    assert [(each.done, each.steps) for each in attempts] == [(False, 2)] * 2
    assert all(each.last.frame.size for each in attempts)


def test_a_policy_that_gives_nonsense_is_named(pusht: Task, track: Track) -> None:
    class Broken(Climber):
        def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
            return np.full((2, 2), np.nan)

    with pytest.raises(HiwmError, match="the policy 'climber' gave chunks of shape"):
        run_attempts(pusht, track, Broken(), [1])
