# SPDX-License-Identifier: Apache-2.0
"""The scripted operator: the stages of a correction, and driving by frames alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
import math

import numpy as np
import pytest

from hiwm_core.backend import first_observation, next_observation
from hiwm_core.error import ConfigurationError
from hiwm_core.task import load_task
from hiwm_robot.scripted_operator import (
    MOST_UNREAD,
    TABLE,
    Event,
    Eyes,
    Habits,
    Look,
    ScriptedOperator,
    Stage,
    When,
)
from hiwm_robot.sims import load_simulator

TASK = load_task('pusht')
SCENE = np.array([0.1, 0.1, 0.3, 0.3, 0.5])
BLIND = Look(np.full(5, math.nan), math.nan)

# stage, event, stage afterwards; spelled out once more, so that a slip in the table shows.
LEGAL = """
WATCHING BEGIN ROLLING_BACK
ROLLING_BACK DONE TAKING_OVER
ROLLING_BACK REFUSED TAKING_OVER
TAKING_OVER DONE DRIVING
TAKING_OVER REFUSED WATCHING
DRIVING FINISHED RELEASING
DRIVING LOST WATCHING
RELEASING DONE RESUMING
RELEASING REFUSED WATCHING
RESUMING DONE WATCHING
RESUMING REFUSED WATCHING
"""
EXPECTED = {
    (Stage[before], Event[event]): Stage[after]
    for before, event, after in (line.split() for line in LEGAL.strip().splitlines())
}


def look(progress: float) -> Look:
    return Look(SCENE, progress)


def driving(habits: Habits | None = None) -> ScriptedOperator:
    operator = ScriptedOperator(TASK, habits or Habits())
    for event in (Event.BEGIN, Event.DONE, Event.DONE):
        assert operator.happen(event)
    assert operator.stage is Stage.DRIVING
    return operator


@pytest.mark.parametrize(('stage', 'event'), list(product(Stage, Event)))
def test_every_pair(stage: Stage, event: Event) -> None:
    operator = ScriptedOperator(TASK, Habits())
    operator.stage = stage
    after = EXPECTED.get((stage, event))
    assert operator.happen(event) is (after is not None)
    assert operator.stage is (after or stage)
    assert TABLE == EXPECTED


def test_it_is_told_once_for_each_correction() -> None:
    operator = ScriptedOperator(TASK, Habits())
    assert operator.tell()
    assert not operator.tell()


def test_it_drives_until_the_task_looks_done() -> None:
    operator = driving()
    assert operator.drive(look(0.5))
    assert all(operator.drive(look(0.955)) for _ in range(5)), 'which may be a misreading'
    assert all(operator.drive(look(seen)) for seen in (0.97, 0.97, 0.94, 0.97, 0.98))
    assert not operator.drive(look(0.97))
    assert operator.stage is Stage.RELEASING
    assert operator.outcome == 'done after 11 steps (progress 0.970)'
    assert operator.corrections == 1


def test_it_hands_back_once_it_has_gained_enough() -> None:
    operator = driving(Habits(hand_back_gain=0.2))
    seen = [math.nan, 0.3, 0.51, 0.45, 0.52, 0.53]
    assert all(operator.drive(look(progress)) for progress in seen)
    assert not operator.drive(look(0.51)), 'three frames in a row'
    assert operator.stage is Stage.RELEASING
    assert operator.achieved
    assert operator.outcome == 'handed back after 6 steps (gained 0.210)'


def test_it_gives_up_after_its_steps() -> None:
    operator = driving(Habits(most_steps=5))
    drives = [operator.drive(look(0.5)) for _ in range(6)]
    assert drives == [True] * 5 + [False]
    assert 'not done after 5 steps' in operator.outcome


def test_it_gives_up_where_it_cannot_see() -> None:
    operator = driving()
    for _ in range(3):
        drives = [operator.drive(BLIND) for _ in range(MOST_UNREAD)]
        assert all(drives)
        assert operator.drive(look(0.5))
    drives = [operator.drive(BLIND) for _ in range(MOST_UNREAD + 1)]
    assert drives[-1] is False
    assert 'could not be read' in operator.outcome


def test_a_stall_makes_it_begin() -> None:
    operator = ScriptedOperator(TASK, Habits(When.STALL, stall_steps=3, stall_gain=0.02))
    for progress in (0.1, 0.2, 0.3, 0.31, 0.31):
        operator.watch(1, progress, autonomous=True)
        assert operator.stage is Stage.WATCHING
    operator.watch(1, 0.30, autonomous=True)
    assert operator.stage is Stage.ROLLING_BACK


@pytest.mark.parametrize(
    'steps',
    [
        [(1, 0.3, True)] * 3 + [(2, 0.3, True)] * 3,
        [(1, 0.3, True)] * 3 + [(1, 0.3, False)] + [(1, 0.3, True)] * 3,
        [(1, 0.3, True), (1, math.nan, True)] * 5,
        [(1, 0.98, True)] * 10,
    ],
    ids=['moved', 'somebody else drove', 'not seen', 'done'],
)
def test_what_is_no_stall(steps: list[tuple[int, float, bool]]) -> None:
    operator = ScriptedOperator(TASK, Habits(When.STALL, stall_steps=3, stall_gain=0.02))
    for epoch, progress, autonomous in steps:
        operator.watch(epoch, progress, autonomous=autonomous)
    assert operator.stage is Stage.WATCHING


@pytest.mark.parametrize('when', [When.TOLD, When.START, When.TRIGGER])
def test_others_do_not_mind_a_stall(when: When) -> None:
    operator = ScriptedOperator(TASK, Habits(when, stall_steps=3))
    for _ in range(10):
        operator.watch(1, 0.3, autonomous=True)
    assert operator.stage is Stage.WATCHING


def test_it_begins_once_with_the_session() -> None:
    operator = ScriptedOperator(TASK, Habits(When.START))
    operator.watch_mux(ready=False, triggered=False)
    assert operator.stage is Stage.WATCHING
    operator.watch_mux(ready=True, triggered=False)
    assert operator.stage is Stage.ROLLING_BACK
    operator.stage = Stage.WATCHING
    operator.watch_mux(ready=True, triggered=False)
    assert operator.stage is Stage.WATCHING


def test_it_answers_each_trigger_once() -> None:
    operator = ScriptedOperator(TASK, Habits(When.TRIGGER))
    for _ in range(2):
        operator.watch_mux(ready=True, triggered=False)
        assert operator.stage is Stage.WATCHING
        operator.watch_mux(ready=True, triggered=True)
        assert operator.stage is Stage.ROLLING_BACK
        operator.stage = Stage.WATCHING
        operator.watch_mux(ready=True, triggered=True)
        assert operator.stage is Stage.WATCHING


# -- frames alone ----------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def eyes() -> Eyes:
    return Eyes(TASK, seed=0)


def test_what_it_sees_is_near_what_is_there(eyes: Eyes) -> None:
    backend = load_simulator(TASK)
    for seed in range(10):
        seen = first_observation(backend, TASK.start_scene(seed), 0)
        looked = eyes.look(seen.frame)
        assert looked.readable
        np.testing.assert_allclose(looked.scene[:4], seen.scene[:4], atol=0.003)
        assert looked.progress == pytest.approx(seen.progress, abs=0.05)
        np.testing.assert_allclose(eyes.hold(looked), seen.joints, atol=0.003)


def test_what_cannot_be_read_is_said(eyes: Eyes) -> None:
    looked = eyes.look(np.full(TASK.frame_shape, 255, np.uint8))
    assert not looked.readable
    assert math.isnan(looked.progress)


@pytest.mark.parametrize('seed', [2, 9, 14])
def test_it_solves_the_task_by_frames_alone(eyes: Eyes, seed: int) -> None:
    backend = load_simulator(TASK)
    seen = first_observation(backend, TASK.start_scene(seed), 0)
    operator = driving(Habits(most_steps=TASK.episode_steps))
    looked = eyes.look(seen.frame)
    while operator.drive(looked):
        seen = next_observation(backend, seen, eyes.choose(seen.frame, looked), 0)
        looked = eyes.look(seen.frame)
    assert 'done after' in operator.outcome
    assert seen.success > 0.5


def test_a_task_without_a_simulator_is_refused() -> None:
    with pytest.raises(ConfigurationError, match='not installed'):
        Eyes(replace(TASK, simulator='juggling'), seed=0)
