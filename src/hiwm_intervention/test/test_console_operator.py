# SPDX-License-Identifier: Apache-2.0
"""The operator behind the page: an answer a step, a dead-man, a fresh start after a jump."""

from __future__ import annotations

import numpy as np
import pytest

from hiwm_core.action import Source
from hiwm_core.task import Task, load_task
from hiwm_intervention.console_operator import DEVICE, ConsoleOperator
from hiwm_intervention.console_protocol import Hold

TIMEOUT = 0.3
JOINTS = np.array([0.25, 0.25])
RIGHT = Hold({'d': 1.0}, at=5.0)


@pytest.fixture
def task() -> Task:
    return load_task('pusht')


@pytest.fixture
def operator(task: Task) -> ConsoleOperator:
    return ConsoleOperator(task, TIMEOUT)


def test_nobody_at_the_wheel_says_nothing(operator: ConsoleOperator) -> None:
    operator.sample(RIGHT, 0.0)
    assert operator.answer(1, 0, JOINTS, 0.0) is None
    assert operator.held == frozenset()


def test_every_new_step_gets_one_answer(task: Task, operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    now = 0.0
    for step in range(20):
        operator.sample(RIGHT, now)
        action = operator.answer(3, step, JOINTS, now)
        assert action is not None
        assert (action.epoch, action.step, action.seq) == (3, step, step)
        assert (action.source, action.device, action.deadman) == (Source.OPERATOR, DEVICE, True)
        assert operator.answer(3, step, JOINTS, now + 0.01) is None
        now += task.period


def test_a_long_step_is_answered_again_with_the_keys_of_then(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    first = operator.answer(1, 0, JOINTS, 0.0)
    operator.sample(RIGHT, 0.2)
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
        operator.sample(RIGHT, now)
        if operator.answer(1, answers, JOINTS, now, lockstep=True):
            answers += 1
    assert answers == pytest.approx(1.0 / task.period, abs=2)


def test_lost_samples_let_go_once_and_then_there_is_silence(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(RIGHT, 0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    assert operator.answer(1, 1, JOINTS, TIMEOUT - 0.01).deadman  # type: ignore[union-attr]
    gone = operator.answer(1, 2, JOINTS, TIMEOUT + 0.01)
    assert gone is not None and not gone.deadman
    assert np.isfinite(gone.values).all()
    for step in range(3, 10):
        # Also when the page speaks again: it has to take over anew.
        operator.sample(RIGHT, step * 0.1)
        assert operator.answer(1, step, JOINTS, step * 0.1) is None


def test_a_page_that_is_gone_lets_go_at_once(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    operator.lose()
    gone = operator.answer(1, 0, JOINTS, 0.001)
    assert gone is not None and not gone.deadman


def test_after_a_jump_the_wheel_has_to_be_taken_again(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(RIGHT, 0.0)
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
    operator.sample(RIGHT, 0.0)
    operator.engage(0.1)
    assert operator.answer(1, 0, JOINTS, 0.1).values == pytest.approx(JOINTS)  # type: ignore[union-attr]


def test_settled_elsewhere_nothing_is_sent(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    operator.disengage()
    assert operator.answer(1, 1, JOINTS, 0.1) is None


# -- devices ---------------------------------------------------------------------------------------


def test_only_what_commands_a_motion_is_not_idle(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    holds = [Hold(), RIGHT, Hold({'a': 1.0, 'd': 1.0}), Hold({'d': 0.3}), Hold({'q': 1.0})]
    idle = []
    for step, hold in enumerate(holds):
        operator.sample(hold, 0.0)
        action = operator.answer(1, step, JOINTS, 0.0)
        assert action is not None and action.deadman
        idle.append(action.idle)
    assert idle == [True, False, True, False, True]


def test_a_motion_that_begins_while_time_stands_still_is_sent_at_once(
    operator: ConsoleOperator,
) -> None:
    operator.engage(0.0)
    assert operator.answer(1, 0, JOINTS, 0.0).idle  # type: ignore[union-attr]
    assert operator.answer(1, 0, JOINTS, 0.01) is None
    operator.sample(RIGHT, 0.02)
    begun = operator.answer(1, 0, JOINTS, 0.02)
    assert begun is not None and not begun.idle
    assert operator.answer(1, 0, JOINTS, 0.03) is None


def test_a_stick_drives_with_its_share_of_the_speed(task: Task, operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(Hold({'d': 0.5}, device='gamepad'), 0.0)
    action = operator.answer(1, 0, JOINTS, 0.0)
    assert action is not None and action.device == 'gamepad'
    assert action.values - JOINTS == pytest.approx([0.5 * 0.25 * task.period, 0.0])


def test_the_gamepads_dead_man_lets_go(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(Hold({'d': 1.0}, device='gamepad'), 0.0)
    assert operator.answer(1, 0, JOINTS, 0.0).deadman  # type: ignore[union-attr]
    operator.sample(Hold({}, device='gamepad', deadman=False), 0.05)
    gone = operator.answer(1, 0, JOINTS, 0.05)
    assert gone is not None and not gone.deadman and gone.device == 'gamepad'
    assert operator.answer(1, 1, JOINTS, 0.1) is None


def test_a_drag_moves_by_how_far_the_pointer_moved_wherever_it_began(
    task: Task, operator: ConsoleOperator
) -> None:
    side = task.camera.width * task.camera.metres_per_pixel
    operator.engage(0.0)
    for step, start in enumerate((0.1, 0.9)):
        operator.sample(Hold(drag=(start, start, start, start), device='mouse'), 0.0)
        pressed = operator.answer(1, 3 * step, JOINTS, 0.0)
        assert pressed is not None and pressed.idle
        assert pressed.values == pytest.approx(JOINTS), 'a press moves nothing'
        operator.sample(Hold(drag=(start, start, start - 0.05, start + 0.1), device='mouse'), 0.0)
        moved = operator.answer(1, 3 * step + 1, JOINTS, 0.0)
        assert moved is not None and not moved.idle and moved.device == 'mouse'
        assert moved.values - JOINTS == pytest.approx([-0.05 * side, 0.1 * side])
        arrived = operator.answer(1, 3 * step + 2, moved.values, 0.0)
        assert arrived is not None and arrived.idle, 'held still where the arm has arrived'
        operator.sample(Hold(), 0.0)


def test_a_drag_keeps_the_limits_of_a_step(task: Task, operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(Hold(drag=(0.5, 0.5, 9.0, -9.0)), 0.0)
    action = operator.answer(1, 0, JOINTS, 0.0)
    assert action is not None
    assert action.values - JOINTS == pytest.approx(task.action_max_step * [1, -1])


# -- latency ---------------------------------------------------------------------------------------


def test_an_input_is_answered_by_the_first_step_that_took_it(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    for step, at in enumerate((10.0, 60.0, 110.0)):
        operator.sample(Hold({'d': 1.0}, at=at), 0.0)
        operator.answer(1, step, JOINTS, 0.0)
    operator.sample(Hold({'d': 1.0}, at=160.0), 0.0)
    assert operator.inputs.execute(1, 0) == [10.0]
    assert operator.inputs.execute(1, 0) == []
    # The answer to step 1 came too late to be executed; the frame after it answers both.
    assert operator.inputs.execute(1, 2) == [60.0, 110.0]
    assert operator.inputs.execute(1, 3) == [], 'no answer has taken the last one yet'


def test_an_idle_hand_waits_for_nothing(operator: ConsoleOperator) -> None:
    operator.engage(0.0)
    operator.sample(Hold(at=10.0), 0.0)
    operator.answer(1, 0, JOINTS, 0.0)
    assert operator.inputs.execute(1, 0) == []
    operator.sample(Hold({'d': 1.0}, at=20.0), 0.0)
    operator.sample(Hold(at=30.0), 0.0)
    operator.answer(1, 1, JOINTS, 0.0)
    assert operator.inputs.execute(1, 1) == [20.0, 30.0], 'to let go is an input too'
