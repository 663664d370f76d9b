# SPDX-License-Identifier: Apache-2.0
"""The emergency stop of an arm on a graph: buttons, services, what late subscribers are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import time

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hiwm_core import contract
from hiwm_core.contract import Quality
from hiwm_rig.base_node import profile_of
from hiwm_rig.emergency_stop import (
    CONSOLE_TOPIC,
    PRESSED,
    RESET_SERVICE,
    STATE_TOPIC,
    TOPIC,
    TRIGGER_SERVICE,
    EmergencyStop,
)

PATIENCE = 20.0
PERIOD = 0.05  # s; a button repeats its level


class Latch:
    """An arm that can be stopped, and nothing more."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self, reason: str) -> None:
        self.stopped = True

    def reset_stop(self) -> None:
        self.stopped = False


class Graph:
    """An arm with its stop, and people around it."""

    def __init__(self) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self.people = Node('people', context=self._context)
        self._arm_node = Node('arm', context=self._context)
        self.arm = Latch()
        self._stop = EmergencyStop(self._arm_node, self.arm)
        for node in (self.people, self._arm_node):
            self._executor.add_node(node)

    def close(self) -> None:
        self._stop.destroy()
        for node in (self.people, self._arm_node):
            node.destroy_node()
        rclpy.shutdown(context=self._context)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f'it did not happen: {what}'
            self._executor.spin_once(timeout_sec=0.05)

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.02)

    def button(self, topic: str = TOPIC, *, level: bool) -> tuple[Publisher, object]:
        """Somebody who says a level again and again, and the timer that does it."""
        publisher = self.people.create_publisher(Bool, topic, profile_of(contract.COMMAND))
        self.until(lambda: publisher.get_subscription_count() > 0, 'the arm listens')
        timer = self.people.create_timer(PERIOD, lambda: publisher.publish(Bool(data=level)))
        return publisher, timer

    def call(self, name: str) -> tuple[bool, str]:
        client = self.people.create_client(Trigger, name)
        self.until(client.service_is_ready, name)
        future = client.call_async(Trigger.Request())
        self.until(future.done, f'an answer of {name}')
        return future.result().success, future.result().message


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


@pytest.mark.parametrize('topic', [TOPIC, CONSOLE_TOPIC])
def test_a_pressed_button_latches_and_its_release_alone_changes_nothing(
    graph: Graph, topic: str
) -> None:
    _, pressed = graph.button(topic, level=True)
    graph.until(lambda: graph.arm.stopped, 'a stop')
    graph.people.destroy_timer(pressed)
    graph.button(topic, level=False)
    graph.run(2 * PRESSED)
    assert graph.arm.stopped
    done, text = graph.call(RESET_SERVICE)
    assert done, text
    assert not graph.arm.stopped


@pytest.mark.parametrize('topic', [TOPIC, CONSOLE_TOPIC])
def test_one_that_is_not_pressed_does_not_release_another(graph: Graph, topic: str) -> None:
    graph.button(level=True)
    graph.until(lambda: graph.arm.stopped, 'a stop')
    graph.button(topic, level=False)
    for _ in range(20):
        done, text = graph.call(RESET_SERVICE)
        assert not done
        assert TOPIC in text
        graph.run(1.3 * PERIOD / 20)
    assert graph.arm.stopped


def test_the_services_trip_and_reset_and_a_late_subscriber_is_told(graph: Graph) -> None:
    assert graph.call(TRIGGER_SERVICE)[0]
    levels: list[bool] = []
    graph.people.create_subscription(
        Bool,
        STATE_TOPIC,
        lambda message: levels.append(bool(message.data)),
        profile_of(Quality(latched=True)),
    )
    graph.until(lambda: levels[-1:] == [True], 'the latch')
    assert graph.call(RESET_SERVICE)[0]
    graph.until(lambda: levels[-1:] == [False], 'the latch, released')


@pytest.mark.parametrize('topic', [TOPIC, CONSOLE_TOPIC])
def test_a_press_that_is_over_before_anybody_looked_still_counts(graph: Graph, topic: str) -> None:
    """The executor may be busy for seconds: with a reset that moves the arm, say."""
    publisher = graph.people.create_publisher(Bool, topic, profile_of(contract.COMMAND))
    graph.until(lambda: publisher.get_subscription_count() > 0, 'the arm listens')
    for level in (True, True, True, True, False, False, False, False):
        publisher.publish(Bool(data=level))
        time.sleep(PERIOD)
    graph.until(lambda: graph.arm.stopped, 'a stop')
