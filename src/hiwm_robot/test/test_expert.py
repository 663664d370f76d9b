# SPDX-License-Identifier: Apache-2.0
"""The scripted expert solves the task, smoothly, reproducibly, and after a disturbance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hiwm_core.backend import first_observation, next_observation
from hiwm_core.task import load_task
from hiwm_robot.driver import ExpertDriver
from hiwm_robot.play import PlayDriver
from hiwm_robot.sims import load_expert, load_simulator
from hiwm_robot.trajectory import run_episode

TASK = load_task('pusht')


@pytest.fixture(scope='module')
def backend():
    return load_simulator(TASK)


def solve(backend, seed: int):
    driver = ExpertDriver(load_expert(TASK, seed))
    return run_episode(TASK, backend, driver, seed, TASK.episode_steps, until_success=True)


@pytest.mark.parametrize('seed', range(6))
def test_it_solves_the_task_within_the_limits(backend, seed: int) -> None:
    episode = solve(backend, seed)
    assert episode.success
    actions = np.array(episode.actions)
    assert (actions >= TASK.action_low).all()
    assert (actions <= TASK.action_high).all()
    # Slow enough to be followed by a policy and by an arm.
    assert np.linalg.norm(np.diff(actions, axis=0), axis=1).max() < 0.05


def test_equal_seeds_give_equal_episodes(backend) -> None:
    assert np.array_equal(solve(backend, 7).actions, solve(backend, 7).actions)


def test_it_plans_anew_after_somebody_else_drove(backend) -> None:
    expert, other = load_expert(TASK, 0), PlayDriver(TASK, 1)
    seen = [first_observation(backend, TASK.start_scene(8), key=0)]
    for step in range(TASK.episode_steps):
        action = other.action(seen) if 15 <= step < 45 else expert.action(seen[-1])
        seen.append(next_observation(backend, seen[-1], action, key=0))
        if seen[-1].success:
            break
    assert step > 45
    assert seen[-1].success


def test_the_scene_alone_is_enough(backend) -> None:
    expert = load_expert(TASK, 0)
    seen = first_observation(backend, TASK.start_scene(9), key=0)
    for _ in range(TASK.episode_steps):
        action = expert.action(replace(seen, state=np.empty(0)))
        seen = next_observation(backend, seen, action, key=0)
        if seen.success:
            break
    assert seen.success
