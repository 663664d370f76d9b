# SPDX-License-Identifier: Apache-2.0
"""Play and edge driving: within the limits, reproducible, in contact, at the edges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import sys

import numpy as np
import pytest

from hiwm_core.observation import Observation
from hiwm_core.task import Task, load_task, parse_task
from hiwm_robot.coverage import draw_visits
from hiwm_robot.driver import NoisyExpertDriver
from hiwm_robot.play import EDGE, PLAY, PlayDriver
from hiwm_robot.sims import load_expert, load_simulator
from hiwm_robot.trajectory import run_episode

sys.path.insert(0, str(Path(__file__).parents[2] / 'hiwm_core' / 'test'))

from two_arms import TWO_ARMS

TASK = load_task('pusht')
STEPS = 150


@pytest.fixture(scope='module')
def backend():
    return load_simulator(TASK)


def drive(backend, shares, seed: int):
    driver = PlayDriver(TASK, seed, shares)
    return run_episode(TASK, backend, driver, seed, STEPS, until_success=False)


@pytest.mark.parametrize('shares', [PLAY, EDGE], ids=['play', 'edge'])
def test_commands_stay_within_limits_and_pace(backend, shares) -> None:
    actions = np.array(drive(backend, shares, 0).actions)
    assert len(actions) == STEPS
    assert (actions >= TASK.action_low).all()
    assert (actions <= TASK.action_high).all()
    assert (np.abs(np.diff(actions, axis=0)) <= TASK.action_max_step + 1e-12).all()


def test_the_seed_decides(backend) -> None:
    first = drive(backend, PLAY, 1).actions
    assert np.array_equal(first, drive(backend, PLAY, 1).actions)
    assert not np.array_equal(first, drive(backend, PLAY, 2).actions)


def test_play_pushes_the_block_often(backend) -> None:
    scenes = [
        np.array([seen.scene for seen in drive(backend, PLAY, seed).observations])
        for seed in range(6)
    ]
    moved = [np.abs(np.diff(scene[:, 2:4], axis=0)).max(1) > 2e-4 for scene in scenes]
    assert np.mean(moved) > 0.2
    angles = np.concatenate([scene[:, 4] for scene in scenes])
    assert np.ptp(angles) > 4.0


def test_edge_reaches_every_side(backend) -> None:
    actions = np.concatenate([drive(backend, EDGE, seed).actions for seed in range(4)])
    assert (actions.min(0) == TASK.action_low).all()
    assert (actions.max(0) == TASK.action_high).all()


def test_a_spoilt_expert_is_not_the_expert(backend) -> None:
    driver = NoisyExpertDriver(TASK, load_expert(TASK, 0, 0.15), 0)
    noisy = run_episode(TASK, backend, driver, 0, 40, until_success=True)
    expert = load_expert(TASK, 0)
    clean = [expert.action(seen) for seen in noisy.observations[:1]]
    assert noisy.device == 'noisy_expert'
    assert not np.array_equal(noisy.actions[0], clean[0])


def other_tasks() -> dict[str, Task]:
    """Tasks that are not moved over the picture as Push-T is."""
    arms = parse_task(TWO_ARMS, 'two_arms')
    bodies = tuple(replace(body, points=()) for body in TASK.bodies)
    mimic = TWO_ARMS.replace(
        '  - {name: left_gripper, unit: rad, low: -1.5, high: 1.25, max_step: 0.2}\n', ''
    )
    return {
        'joint angles': arms,
        'no landmarks': replace(TASK, bodies=bodies),
        'a joint that is only measured': parse_task(mimic, 'mimic'),
    }


@pytest.mark.parametrize('shares', [PLAY, EDGE], ids=['play', 'edge'])
@pytest.mark.parametrize('name', other_tasks())
def test_any_task_can_be_played_with(name: str, shares: dict[str, float], tmp_path: Path) -> None:
    task = other_tasks()[name]
    driver = PlayDriver(task, 3, shares)
    scene = task.start_scene(3)
    joints = task.joints_of_scene(scene)
    frame = np.zeros(task.frame_shape, np.uint8)
    actions = []
    for _ in range(300):
        actions.append(driver.action([Observation(frame, joints, scene)]))
        joints = np.array(joints)
        for column, variable in enumerate(task.actions):
            joints[task.joint_names.index(variable.name)] = actions[-1][column]
    moved = np.array(actions)
    assert (moved >= task.action_low).all() and (moved <= task.action_high).all()
    assert (np.ptp(moved, axis=0) > 0.2 * (task.action_high - task.action_low)).all()
    draw_visits(task, np.tile(scene, (300, 1)), moved, 1, tmp_path / 'coverage.png')
    assert (tmp_path / 'coverage.png').stat().st_size > 1000
