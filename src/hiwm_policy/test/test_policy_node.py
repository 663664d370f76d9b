# SPDX-License-Identifier: Apache-2.0
"""The policy node on a live graph, with frames published as a rig publishes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
import time
from typing import Any

from hiwm_msgs.msg import Action, RigState
import numpy as np
from numpy.typing import NDArray
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.observation import Observation
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

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        self.histories.append([int(seen.frame[0, 0, 0]) for seen in history])
        if self.broken:
            return np.full((4, len(self._middle)), np.nan)
        part = np.linspace(0.1, 0.4, 4)[:, None]
        joints = history[-1].joints
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
        subscription(self.node, contract.POLICY_ACTION, self.answers.append)
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
        node: int = 0,
    ) -> None:
        self.stamp += 100_000_000
        stamp = time_message(self.stamp)
        rows, columns = shape or self.task.frame_shape[:2]
        frame = np.full((rows, columns, 3), step, np.uint8)
        self._publish(contract.IMAGE, image_message(frame, stamp))
        self._publish(
            contract.JOINT_STATES,
            joint_message(self.task.joint_names, np.array([0.1, 0.2]), stamp),
        )
        state = RigState(epoch=epoch, step=step, node=node or 1000 * epoch + step + 1)
        state.header.stamp = stamp
        state.context = context
        self._publish(contract.RIG_STATE, state)

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

    def rest(self) -> None:
        """Let everything that is on its way arrive."""
        for _ in range(20):
            self.executor.spin_once(timeout_sec=0.02)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    rclpy.init()
    task = load_task('pusht')
    policy = ToTheCentre(task)
    monkeypatch.setattr(policy_node, 'load_policy', lambda name, task, model: policy)
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
        assert action.source == Source.POLICY and action.device == 'centre'
        assert tuple(action.names) == rig.task.action_names
        rig.execute(Source.POLICY)
    rig.rest()
    assert len(rig.answers) == 6
    assert [one.seq for one in rig.answers] == list(range(6))
    assert rig.policy.histories == [[0], [3, 4]], 'a chunk is executed before the next is asked for'


def test_after_a_rollback_it_sees_the_restored_past(rig: Rig) -> None:
    rig.show(7)
    rig.answer(1)
    for step in (2, 3):
        rig.show(step, epoch=2, context=True)
    rig.show(4, epoch=2)
    action = rig.answer(2)
    rig.rest()
    assert (action.epoch, action.observation_step) == (2, 4)
    assert rig.policy.histories[-1] == [3, 4]
    assert len(rig.answers) == 2, 'the past asks for no answer'


def test_a_still_scene_is_answered_once(rig: Rig) -> None:
    for _ in range(4):
        rig.show(5, node=55)
    rig.answer(1)
    rig.rest()
    assert len(rig.answers) == 1 and len(rig.policy.histories) == 1


def test_it_goes_on_proposing_while_a_person_drives(rig: Rig) -> None:
    for step in range(4):
        rig.show(step)
        rig.answer(step + 1)
        rig.execute(Source.OPERATOR)
        rig.rest()
    assert len(rig.policy.histories) == 4


def test_a_wrong_image_size_is_named_and_not_answered(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.show(0, shape=(48, 64))
    rig.rest()
    assert not rig.answers
    assert 'the camera gives 64x48 pixels and the policy needs 96x96' in capfd.readouterr().err
    rig.show(1)
    assert rig.answer(1).observation_step == 1


def test_values_that_are_not_finite_are_never_sent(
    rig: Rig, capfd: pytest.CaptureFixture[str]
) -> None:
    rig.policy.broken = True
    rig.show(0)
    rig.until(lambda: rig.policy.histories, 'the policy is asked')
    rig.rest()
    assert not rig.answers
    assert 'not finite at step 0' in capfd.readouterr().err
    rig.policy.broken = False
    rig.show(1)
    assert rig.answer(1).observation_step == 1
