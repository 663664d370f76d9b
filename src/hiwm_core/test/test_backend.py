# SPDX-License-Identifier: Apache-2.0
"""Observations from a backend's rows of state, and states from observations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from point_mass import PointMass
import pytest

from hiwm_core.backend import (
    Readings,
    first_observation,
    next_observation,
    observe,
    state_of,
)
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import Task


def test_an_observation_holds_all_that_is_needed_to_go_on(task: Task) -> None:
    backend = PointMass(task)
    seen = first_observation(backend, task.start_scene(1), 0)
    states = backend.start(task.start_scene(1), 0)
    for step in range(5):
        action = task.action_low + 0.1 * step
        seen = next_observation(backend, seen, action, step)
        states = backend.step(states, action[None], [step])
        assert np.array_equal(seen.state, states[0])
        assert np.array_equal(seen.frame, backend.decode(states)[0])
        assert np.array_equal(state_of(backend, seen, 0), states)


def test_many_states_are_observed_row_by_row(task: Task) -> None:
    backend = PointMass(task)
    states = np.concatenate([backend.start(task.start_scene(seed), 0) for seed in range(4)])
    for row, seen in enumerate(observe(backend, states)):
        (alone,) = observe(backend, states[row : row + 1])
        for name in ('frame', 'joints', 'scene', 'state'):
            assert np.array_equal(getattr(seen, name), getattr(alone, name))
        assert seen.progress == alone.progress


def test_a_foreign_observation_is_taken_up_at_its_scene(task: Task) -> None:
    backend = PointMass(task)
    seen = next_observation(
        backend, first_observation(backend, task.start_scene(2), 0), task.action_high, 5
    )
    foreign = replace(seen, state=np.zeros(7))
    assert np.array_equal(state_of(backend, foreign, 0), backend.start(seen.scene, 0))
    blind = replace(seen, state=np.empty(0), scene=np.empty(0))
    with pytest.raises(HiwmError, match='does not read frames') as refusal:
        next_observation(backend, blind, task.action_high, 5)
    assert refusal.value.code is ErrorCode.NOT_SUPPORTED


class Miscounting(PointMass):
    """Forgets a row of its readings."""

    def heads(self, states: NDArray[np.float64], frames: object = None) -> Readings:
        readings = super().heads(states)
        return replace(readings, progress=readings.progress[:-1])


def test_a_backend_that_loses_a_row_is_a_fault(task: Task) -> None:
    backend = Miscounting(task)
    with pytest.raises(HiwmError, match=r'\[1, 2\] frames or readings for 2 states') as error:
        observe(backend, np.repeat(backend.start(task.start_scene(0), 0), 2, axis=0))
    assert error.value.code is ErrorCode.MODEL_FAULT
