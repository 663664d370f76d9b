# SPDX-License-Identifier: Apache-2.0
"""What goes between an arm's node and its control loop: orders, answers, and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import mmap
import os
import subprocess
import time

from emulated_arm import CONFIG
import numpy as np
import pytest

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import load_task
from hiwm_robot.dynamixel import arm_process
from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.arm_memory import KEPT_TIMES, SENTENCE, ArmMemory, sentence
from hiwm_robot.dynamixel.arm_order import Answer, Order, OrderKind
from hiwm_robot.dynamixel.arm_phase import PHASES, ArmPhase
from hiwm_robot.dynamixel.arm_process import ArmProcess

JOINTS, VALUES = 6, 2


@pytest.fixture
def memory() -> Iterator[ArmMemory]:
    memory = ArmMemory.create(JOINTS, VALUES)
    yield memory
    memory.close_file()


@pytest.fixture
def arm() -> Iterator[ArmProcess]:
    """An arm whose loop is played by the test."""
    arm = ArmProcess(CONFIG, read_arm(CONFIG), load_task('pusht'), dry_run=False)
    yield arm
    arm.close()


def play(arm: ArmProcess, **fields: object) -> None:
    """What the loop tells."""
    arm._memory.tell({'stamp': time.monotonic(), **fields})


# -- memory ---------------------------------------------------------------------------------------


def test_nothing_is_seen_before_the_first_telling(memory: ArmMemory) -> None:
    assert memory.look() is None
    assert len(memory.times('busy')) == 0


def test_what_is_told_is_seen_from_another_mapping(memory: ArmMemory) -> None:
    reader = ArmMemory(os.dup(memory.descriptor), JOINTS, VALUES)
    for turn in range(1, 8):
        memory.tell({'goal': np.arange(6) * turn, 'message': f'turn {turn}', 'measured': True})
        state = reader.look()
        assert state is not None and state['turn'] == turn
        np.testing.assert_array_equal(state['goal'], np.arange(6) * turn)
        assert sentence(state['message']) == f'turn {turn}'
    memory.tell({'message': ''})
    state = reader.look()
    assert state is not None and sentence(state['message']) == '' and state['measured']
    reader.close_file()


def test_a_state_that_is_half_written_is_not_seen(memory: ArmMemory) -> None:
    """The writer was killed in the middle of it, at any place: the one before is still whole."""
    reader = ArmMemory(os.dup(memory.descriptor), JOINTS, VALUES)
    raw = mmap.mmap(memory.descriptor, 0)
    for turn in range(1, 3):
        memory.tell({'goal': np.full(6, float(turn))})
    before = bytes(raw)
    memory.tell({'goal': np.full(6, 3.0)})
    after = bytes(raw)
    changed = [place for place in range(len(raw)) if before[place] != after[place]]
    assert changed
    for place in changed:
        raw[:] = after[:place] + before[place:]
        state = reader.look()
        assert state is not None and state['turn'] == 2 and state['goal'][0] == 2.0
    raw[:] = after
    state = reader.look()
    assert state is not None and state['turn'] == 3
    reader.close_file()


def test_a_ring_keeps_the_newest_times(memory: ArmMemory) -> None:
    for number in range(KEPT_TIMES + 10):
        memory.note('answers', float(number))
    memory.note('lateness', -1.0)
    memory.tell({})
    kept = memory.times('answers')
    assert len(kept) == KEPT_TIMES and kept.min() == 10.0 and kept.max() == KEPT_TIMES + 9
    assert memory.times('lateness').tolist() == [-1.0]


def test_a_sentence_that_is_too_long_is_cut_between_letters(memory: ArmMemory) -> None:
    memory.tell({'message': 'ü' * SENTENCE})
    state = memory.look()
    assert state is not None and sentence(state['message']) == 'ü' * (SENTENCE // 2)


# -- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', OrderKind)
def test_an_order_comes_as_it_was_given(kind: OrderKind) -> None:
    order = Order(kind, 7, 12.25, np.array([0.1, -0.2]).tobytes())
    assert Order.unpack(order.pack()) == order
    assert Order.unpack(order.pack()).values.tolist() == [0.1, -0.2]
    stop = replace(order, body='der Knopf wurde gedrückt'.encode())
    assert Order.unpack(stop.pack()).text == 'der Knopf wurde gedrückt'


def test_an_answer_comes_as_it_was_given() -> None:
    answer = Answer(3, ErrorCode.TIMED_OUT, 'servo 3 (elbow) does not answer')
    assert Answer.unpack(answer.pack()) == answer


# -- the node's side ------------------------------------------------------------------------------


def test_it_takes_commands_where_the_loop_says_so(arm: ArmProcess) -> None:
    with pytest.raises(HiwmError, match='it has no torque yet'):
        arm.command(np.zeros(2))
    play(arm, phase=PHASES.index(ArmPhase.FOLLOWING))
    arm.command(np.array([0.1, 0.2]))
    order = Order.unpack(arm._far_end.recv(4096))
    assert order.kind is OrderKind.COMMAND and order.values.tolist() == [0.1, 0.2]
    assert 0.0 <= time.monotonic() - order.stamp < 60.0
    play(arm, phase=PHASES.index(ArmPhase.FAULT), message='servo 3 (elbow) is hot')
    with pytest.raises(HiwmError, match=r'servo 3 \(elbow\) is hot'):
        arm.command(np.zeros(2))
    assert arm.faulty


def test_a_stop_counts_before_the_loop_has_heard_it_and_so_does_its_reset(arm: ArmProcess) -> None:
    play(arm, phase=PHASES.index(ArmPhase.FOLLOWING))
    arm.stop('somebody pressed the button')
    assert arm.stopped and 'somebody pressed the button' in arm.refusal
    play(arm, heard=1, phase=PHASES.index(ArmPhase.STOPPED), stop_reason='as the loop says')
    assert arm.stop_reason == 'as the loop says'
    arm.reset_stop()
    assert not arm.stopped, 'the loop has not heard it yet'
    play(arm, heard=2, phase=PHASES.index(ArmPhase.STARTING), stop_reason='')
    assert not arm.refusal
    play(arm, phase=PHASES.index(ArmPhase.STOPPED), stop_reason='servo 1 (waist) raced')
    assert arm.stopped, 'the loop stops by itself too'


def test_a_loop_that_stands_still_is_told(arm: ArmProcess) -> None:
    play(arm, phase=PHASES.index(ArmPhase.FOLLOWING), stamp=time.monotonic() - 5.0)
    assert 'has not turned for 5.' in arm.refusal


def test_a_loop_that_does_not_end_may_have_left_torque(
    arm: ArmProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arm_process, 'LONGEST_END', 0.01)
    with subprocess.Popen(['sleep', '600']) as arm._process:
        try:
            assert 'has not ended within 0.01 s; its servos may still have torque' in arm.close()
        finally:
            arm._process.kill()
    assert arm.close() == '', 'once'


def test_a_loop_that_hears_nothing_blocks_nobody(arm: ArmProcess) -> None:
    play(arm, phase=PHASES.index(ArmPhase.FOLLOWING))
    with pytest.raises(HiwmError, match='takes no orders'):
        for _ in range(100_000):
            arm.command(np.zeros(2))
    arm.hold()
    arm.stop('somebody pressed the button')
    assert arm.stopped
    # Once it hears again it is told of the stop, with nothing else asked for.
    arm._far_end.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            last = Order.unpack(arm._far_end.recv(4096))
    play(arm, heard=last.number)
    assert arm.stopped
    order = Order.unpack(arm._far_end.recv(4096))
    assert order.kind is OrderKind.STOP and order.text == 'somebody pressed the button'
