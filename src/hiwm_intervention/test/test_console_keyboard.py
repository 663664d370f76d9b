# SPDX-License-Identifier: Apache-2.0
"""Held keys become values that start at the arm, move at the task's speed and keep its limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hiwm_core.task import Task, load_task
from hiwm_intervention.keyboard import Keyboard


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


MIDDLE = np.array([0.25, 0.25])


def test_nothing_held_commands_where_the_arm_is(task: Task) -> None:
    assert Keyboard(task).command([], MIDDLE) == pytest.approx(MIDDLE)


@pytest.mark.parametrize('key', ['w', 'a', 's', 'd'])
def test_a_key_moves_by_its_speed_each_step(task: Task, key: str) -> None:
    keyboard = Keyboard(task)
    moved = keyboard.command([key], MIDDLE) - MIDDLE
    expected = [task.keys[key].get(name, 0.0) * task.period for name in task.action_names]
    assert moved == pytest.approx(expected)
    assert np.abs(moved).sum() > 0
    keyboard.advance()
    assert keyboard.command([key], MIDDLE) - MIDDLE == pytest.approx(2 * np.array(expected))


def test_the_same_step_asked_again_is_not_counted_twice(task: Task) -> None:
    keyboard = Keyboard(task)
    once = keyboard.command(['d'], MIDDLE)
    assert keyboard.command(['d'], MIDDLE) == pytest.approx(once)
    # Let go before the step is over: as if it had not been pressed.
    assert keyboard.command([], MIDDLE) == pytest.approx(MIDDLE)


def test_keys_add_up_and_opposite_ones_cancel(task: Task) -> None:
    corner = Keyboard(task).command(['d', 's'], MIDDLE)
    assert (corner > MIDDLE).all()
    assert Keyboard(task).command(['a', 'd'], MIDDLE) == pytest.approx(MIDDLE)


def test_unknown_keys_do_nothing(task: Task) -> None:
    keyboard = Keyboard(task)
    assert keyboard.command(['q', 'Escape', ''], MIDDLE) == pytest.approx(MIDDLE)
    assert keyboard.known(['q', 'd']) == {'d'}


def test_values_stay_within_the_limits(task: Task) -> None:
    keyboard = Keyboard(task)
    joints = task.action_high.copy()
    for _ in range(5):
        values = keyboard.command(['d', 's'], joints)
        assert (values <= task.action_high).all()
        keyboard.advance()


def test_an_arm_that_cannot_follow_is_not_left_with_a_debt(task: Task) -> None:
    keyboard = Keyboard(task)
    for _ in range(50):
        values = keyboard.command(['d'], MIDDLE)
        keyboard.advance()
    assert values[0] - MIDDLE[0] == pytest.approx(task.action_max_step[0])
    # One step the other way leads back at once.
    assert keyboard.command(['a'], MIDDLE)[0] < values[0]


def test_forgetting_begins_at_the_arm_again(task: Task) -> None:
    keyboard = Keyboard(task)
    keyboard.command(['d'], MIDDLE)
    keyboard.advance()
    keyboard.forget()
    elsewhere = np.array([0.4, 0.1])
    assert keyboard.command([], elsewhere) == pytest.approx(elsewhere)


def test_what_grips_goes_on_from_what_was_commanded(task: Task) -> None:
    """Blocked by a thing at 0.3, a gripper that was told 0.1 must not be told 0.3."""
    grips = replace(task, actions=(task.actions[0], replace(task.actions[1], grips=True)))
    joints, executed = np.array([0.2, 0.3]), np.array([0.25, 0.1])
    assert Keyboard(grips).command([], joints, executed) == pytest.approx([0.2, 0.1])
    assert Keyboard(grips).command([], joints) == pytest.approx(joints)
