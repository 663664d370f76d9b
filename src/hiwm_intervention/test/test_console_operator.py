# SPDX-License-Identifier: Apache-2.0
"""The operator behind the page: an answer a step, a dead-man, a fresh start after a jump."""

from __future__ import annotations

import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.task import Task, load_task
from hiwm_intervention.console_operator import DEVICE, ConsoleOperator

TIMEOUT = 0.3
JOINTS = np.array([0.25, 0.25])


@pytest.fixture
def task() -> Task:
    return load_task('pusht')


@pytest.fixture
def operator(task: Task) -> ConsoleOperator:
    return ConsoleOperator(task, TIMEOUT)


def test_nobody_at_the_wheel_says_nothing(operator: ConsoleOperator) -> None:
    operator.sample(['d'], 0.0)
    assert operator.answer(1, 0, JOINTS, 0.0) is None
    assert operator.held == frozenset()


def test_every_new_step_gets_one_answer(task: Task, operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    now = 0.0
    for step in range(20):
        operator.sample(['d'], now)
        action = operator.answer(3, step, JOINTS, now)
        assert action is not None
        assert (action.epoch, action.step, action.seq) == (3, step, step)
        assert (action.source, action.device, action.deadman) == (Source.OPERATOR, DEVICE, True)
        assert operator.answer(3, step, JOINTS, now + 0.01) is None
        now += task.period


def test_a_long_step_is_answered_again_with_the_keys_of_then(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    first = operator.answer(1, 0, JOINTS, 0.0)
    operator.sample(['d'], 0.2)
    again = operator.answer(1, 0, JOINTS, 0.2)
    assert first is not None and again is not None
    assert again.step == first.step
    assert first.values == pytest.approx(JOINTS)
    assert again.values[0] > JOINTS[0]


def test_in_lockstep_a_person_drives_in_real_time(task: Task, operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    answers = 0
    # A rig that steps the moment it is answered, looked at every 5 ms.
    for tick in range(200):
        now = tick * 0.005
        operator.sample(['d'], now)
        if operator.answer(1, answers, JOINTS, now, lockstep=True):
            answers += 1
    assert answers == pytest.approx(1.0 / task.period, abs=2)


def test_lost_samples_let_go_once_and_then_there_is_silence(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(['d'], 0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    assert operator.answer(1, 1, JOINTS, TIMEOUT - 0.01).deadman  # type: ignore[union-attr]
    gone = operator.answer(1, 2, JOINTS, TIMEOUT + 0.01)
    assert gone is not None and not gone.deadman
    assert np.isfinite(gone.values).all()
    for step in range(3, 10):
        # Also when the page speaks again: it has to take over anew.
        operator.sample(['d'], step * 0.1)
        assert operator.answer(1, step, JOINTS, step * 0.1) is None


def test_a_page_that_is_gone_lets_go_at_once(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    operator.lose()
    gone = operator.answer(1, 0, JOINTS, 0.001)
    assert gone is not None and not gone.deadman


def test_after_a_jump_the_wheel_has_to_be_taken_again(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(['d'], 0.0)
    for step in range(3):
        operator.answer(1, step, JOINTS, 0.05 * step)
    elsewhere = np.array([0.1, 0.4])
    let_go = operator.answer(2, 0, elsewhere, 0.2)
    assert let_go is not None and not let_go.deadman
    assert let_go.epoch == 2
    assert let_go.values == pytest.approx(elsewhere)
    assert operator.answer(2, 1, elsewhere, 0.25) is None
    operator.engage(0.3)
    fresh = operator.answer(2, 1, elsewhere, 0.3)
    assert fresh is not None and fresh.deadman
    assert fresh.values == pytest.approx(elsewhere), 'the reference begins at the arm'


def test_a_key_held_before_the_takeover_does_not_count(operator: ConsoleOperator) -> None:
    operator.sample(['d'], 0.0)
    operator.engage(0.1)
    assert operator.answer(1, 0, JOINTS, 0.1).values == pytest.approx(JOINTS)  # type: ignore[union-attr]


def test_settled_elsewhere_nothing_is_sent(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    operator.disengage()
    assert operator.answer(1, 1, JOINTS, 0.1) is None
