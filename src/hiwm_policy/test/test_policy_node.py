# SPDX-License-Identifier: Apache-2.0
"""The policy node on a live graph, with frames published as a rig publishes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hiwm_msgs.msg import Action, RigState
import numpy as np
from numpy.typing import NDArray
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task, load_task
from hiwm_policy import policy_node
from hiwm_rig.base_node import publisher, subscription
from hiwm_rig.conversion import image_message, joint_message, time_message

PATIENCE = 20.0


class ToTheCentre:
    """Moves every joint a tenth of the way to the middle of its range, four steps at a time."""

    name = 'centre'
    context = 2
    chunk_steps = 4

    def __init__(self, task: Task) -> None:
        self._middle = (task.action_low + task.action_high) / 2
        self.histories: list[list[int]] = []
        self.broken = False
        self.hold = threading.Event()
        self.hold.set()

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        self.histories.append([int(seen.frame[0, 0, 0]) for seen in history])
        assert self.hold.wait(PATIENCE)
        if self.broken:
            return np.full((4, len(self._middle)), np.nan)
        return self.plan(history[-1].joints)

    def plan(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """What it gives for the newest joints."""
        part = np.linspace(0.1, 0.4, 4)[:, None]
        return joints + part * (self._middle - joints)


class Rig:
    """Publishes what a test says, and keeps what the policy answers."""

    def __init__(self, policy: ToTheCentre, task: Task) -> None:
        self.policy = policy
        self.task = task
        self.node = rclpy.create_node('rig')
        self.publishers = {
            topic.name: publisher(self.node, topic)
            for topic in (
                contract.IMAGE,
                contract.JOINT_STATES,
                contract.RIG_EXECUTED,
                contract.RIG_STATE,
            )
        }
        self.answers: list[Action] = []
        self.diagnostics: list[DiagnosticArray] = []
        subscription(self.node, contract.POLICY_ACTION, self.answers.append)
        subscription(self.node, contract.DIAGNOSTICS, self.diagnostics.append)
        self.host = policy_node.PolicyNode()
        self.host.start()
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.host)
        self.stamp = 1_000_000_000
        self.until(
            lambda: all(one.get_subscription_count() == 1 for one in self.publishers.values()),
            'the policy listens',
        )

    def show(
        self,
        step: int,
        *,
        epoch: int = 1,
        context: bool = False,
        shape: tuple[int, int] | None = None,
        mode: Mode = Mode.RUNNING,
        pace: Pace = Pace.LOCKSTEP,
        task: str = 'pusht',
        order: tuple[int, ...] = (0, 1, 2),
    ) -> None:
        """Publish a frame's messages; `order` is that of image, joints and state."""
        self.stamp += 100_000_000
        stamp = time_message(self.stamp)
        rows, columns = shape or self.task.frame_shape[:2]
        frame = np.full((rows, columns, 3), step, np.uint8)
        state = RigState(epoch=epoch, step=step, node=1000 * epoch + step + 1, task=task)
        state.header.stamp = stamp
        state.context, state.mode, state.pace = context, int(mode), int(pace)
        joints = joint_message(self.task.joint_names, np.array([0.1, 0.2]), stamp)
        messages = (
            (contract.IMAGE, image_message(frame, stamp)),
            (contract.JOINT_STATES, joints),
            (contract.RIG_STATE, state),
        )
        for place in order:
            self._publish(*messages[place])

    def execute(self, source: Source, epoch: int = 1) -> None:
        self._publish(contract.RIG_EXECUTED, Action(source=int(source), epoch=epoch))

    def _publish(self, topic: contract.Topic, message: Any) -> None:
        self.publishers[topic.name].publish(message)

    def until(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f'waited in vain until {what}'
            self.executor.spin_once(timeout_sec=0.05)

    def answer(self, number: int) -> Action:
        self.until(lambda: len(self.answers) >= number, f'answer {number} comes')
        return self.answers[-1]

    def status(self, level: bytes) -> bool:
        """Whether the newest diagnostics have this level."""
        return bool(self.diagnostics) and self.diagnostics[-1].status[0].level == level

    def rest(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Rig]:
    monkeypatch.setattr(
        sys, 'argv', ['policy', '--ros-args', '-p', f'policy:={tmp_path}', '-p', 'seed:=3']
    )
    rclpy.init(args=sys.argv)
    task = load_task('pusht')
    policy = ToTheCentre(task)
    monkeypatch.setattr(policy_node, 'open_policy', lambda task, which: policy)
    rig = Rig(policy, task)
    yield rig
    rig.host.destroy_node()
    rig.node.destroy_node()
    rclpy.try_shutdown()


def test_every_step_gets_one_named_answer(rig: Rig) -> None:
    for step in range(6):
        rig.show(step)
        action = rig.answer(step + 1)
        assert (action.epoch, action.observation_step) == (1, step)
        assert (action.source, action.device) == (Source.POLICY, 'centre')
        assert tuple(action.names) == rig.task.action_names
        assert np.isfinite(list(action.values)).all()
        rig.execute(Source.POLICY)
        rig.rest()
    assert len(rig.answers) == 6
    assert [one.seq for one in rig.answers] == list(range(6))
    assert rig.policy.histories == [[0], [3, 4]], 'a chunk is executed before the next is asked for'


@pytest.mark.parametrize('order', [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_the_parts_of_a_frame_may_come_in_any_order(rig: Rig, order: tuple[int, ...]) -> None:
    rig.show(0, order=order)
    assert rig.answer(1).observation_step == 0


def test_a_frame_whose_image_is_lost_is_not_answered(rig: Rig) -> None:
    rig.show(0, order=(1, 2))
    rig.rest()
    assert not rig.answers
    rig.show(1)
    assert rig.answer(1).observation_step == 1
    assert rig.policy.histories == [[1]]


def test_after_a_rollback_it_sees_the_restored_past(rig: Rig) -> None:
    rig.show(7)
    rig.answer(1)
    for step in (2, 3):
        rig.show(step, epoch=2, context=True, mode=Mode.PAUSED)
    rig.show(4, epoch=2, mode=Mode.PAUSED)
    action = rig.answer(2)
    rig.rest()
    assert (action.epoch, action.observation_step) == (2, 4)
    assert rig.policy.histories[-1] == [3, 4]
    assert len(rig.answers) == 2, 'the past asks for no answer'


def test_a_chunk_that_a_new_epoch_overtakes_is_never_sent(rig: Rig) -> None:
    rig.policy.hold.clear()
    rig.show(7)
    rig.until(lambda: rig.policy.histories, 'the policy is asked')
    rig.show(2, epoch=2)
    rig.rest()
    rig.policy.hold.set()
    action = rig.answer(1)
    rig.rest()
    assert (action.epoch, action.observation_step) == (2, 2)
    assert len(rig.answers) == 1
    assert rig.policy.histories == [[7], [2]]


def test_a_scene_that_stands_still_keeps_its_answer(rig: Rig) -> None:
    rig.show(5)
    first = rig.answer(1)
    rig.show(5, mode=Mode.PAUSED)
    again = rig.answer(2)
    assert (again.epoch, again.observation_step) == (1, 5)
    assert list(again.values) == list(first.values)
    assert len(rig.policy.histories) == 1


def test_it_goes_on_proposing_while_a_person_drives_and_looks_again_after(rig: Rig) -> None:
    for step in range(3):
        rig.show(step)
        rig.answer(step + 1)
        rig.execute(Source.OPERATOR)
        rig.rest()
    assert rig.policy.histories == [[0]]
    rig.show(2, mode=Mode.PAUSED)
    rig.until(lambda: len(rig.policy.histories) == 2, 'it plans from what the person left')
    assert rig.policy.histories[-1] == [1, 2]
    begun = rig.policy.plan(np.array([0.1, 0.2]))[0]
    rig.until(
        lambda: np.array_equal(rig.answers[-1].values, begun), 'the newest step is answered anew'
    )
    assert rig.answers[-1].observation_step == 2


def test_in_realtime_the_next_chunk_is_asked_for_before_the_last_ends(rig: Rig) -> None:
    for step in range(4):
        rig.show(step, pace=Pace.REALTIME)
        rig.answer(step + 1)
    rig.until(lambda: len(rig.policy.histories) == 2, 'the next chunk is asked for')
    assert rig.policy.histories[-1] == [2, 3]


def test_a_wrong_image_size_is_named_and_not_answered(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.show(0, shape=(48, 64))
    rig.until(lambda: rig.status(DiagnosticStatus.ERROR), 'the diagnostics say so')
    assert not rig.answers
    error = capfd.readouterr().err
    assert 'the camera gives 64x48 pixels' in error
    assert 'needs 96x96' in error
    rig.show(1)
    assert rig.answer(1).observation_step == 1


def test_another_task_is_named(rig: Rig, capfd: pytest.CaptureFixture[str]) -> None:
    rig.show(0, task='towel')
    rig.rest()
    assert not rig.answers
    assert "the rig runs task 'towel', the policy is for 'pusht'" in capfd.readouterr().err


def test_values_that_are_not_finite_are_never_sent(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.policy.broken = True
    rig.show(0)
    rig.until(lambda: rig.policy.histories, 'the policy is asked')
    rig.rest()
    assert not rig.answers
    assert 'not finite' in capfd.readouterr().err
    rig.policy.broken = False
    rig.show(1)
    assert rig.answer(1).observation_step == 1


def test_the_diagnostics_tell_latency_and_readiness(rig: Rig) -> None:
    rig.until(lambda: rig.status(DiagnosticStatus.WARN), 'it is not ready yet')
    rig.show(0)
    rig.answer(1)
    rig.until(lambda: rig.status(DiagnosticStatus.OK), 'it is ready')
    values = {entry.key: entry.value for entry in rig.diagnostics[-1].status[0].values}
    assert values['ready'] == 'true'
    assert 0.0 <= float(values['chunk latency p50 (ms)']) <= float(values['chunk latency p95 (ms)'])


def test_without_weights_the_process_ends_with_a_sentence(tmp_path: Path) -> None:
    program = 'import sys; from hiwm_policy.policy_node import main; sys.exit(main())'
    for given, sentence in (
        ([], "the parameter 'policy' is empty"),
        (['--ros-args', '-p', f'policy:={tmp_path}'], 'holds no policy'),
    ):
        result = subprocess.run(
            [sys.executable, '-c', program, *given],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 1
        assert sentence in result.stderr
        assert 'Traceback' not in result.stderr
