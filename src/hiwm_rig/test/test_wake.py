# SPDX-License-Identifier: Apache-2.0
"""Calls from other threads arrive in the executor's, also those that the middleware forgets."""

from __future__ import annotations

from collections.abc import Iterator
import threading

import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.guard_condition import GuardCondition
from rclpy.node import Node

from hiwm_rig.wake import Wake

PATIENCE = 20.0
CALLS = 50


class Called:
    """A `Wake`'s function: counts, and says in which thread it was called."""

    def __init__(self) -> None:
        self.count = 0
        self.thread: int | None = None
        self.seen = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.thread = threading.get_ident()
        self.seen.set()


@pytest.fixture
def spinning() -> Iterator[tuple[Node, threading.Thread]]:
    """A node whose executor spins in a thread."""
    context = Context()
    rclpy.init(context=context)
    node = Node('woken', context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin() -> None:
        try:
            executor.spin()
        except ExternalShutdownException:
            return

    thread = threading.Thread(target=spin)
    thread.start()
    yield node, thread
    rclpy.shutdown(context=context)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    node.destroy_node()


def test_a_call_is_made_in_the_executors_thread(
    spinning: tuple[Node, threading.Thread],
) -> None:
    node, thread = spinning
    called = Called()
    wake = Wake(node, called)
    for _ in range(CALLS):
        called.seen.clear()
        wake.call()
        assert called.seen.wait(PATIENCE)
    assert called.thread == thread.ident
    assert called.count == CALLS


def test_a_call_that_the_middleware_forgets_is_made_all_the_same(
    spinning: tuple[Node, threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    node, _ = spinning
    called, idle = Called(), Called()
    wake = Wake(node, called)
    Wake(node, idle)
    monkeypatch.setattr(GuardCondition, 'trigger', lambda self: None)
    for _ in range(3):
        called.seen.clear()
        wake.call()
        assert called.seen.wait(PATIENCE)
    assert idle.count == 0, 'nobody has asked for it'
