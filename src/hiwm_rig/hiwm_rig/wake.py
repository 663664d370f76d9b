# SPDX-License-Identifier: Apache-2.0
"""From a thread of one's own into the executor's, without fail.

A guard condition alone does not do: up to ROS 2 Jazzy, Fast DDS' middleware forgets a trigger that
comes while it looks which conditions were triggered (ros2/rmw_fastrtps#895). Measured with rclpy
7.1.6 on a busy machine, it forgot 6 of 41,056; what waits then waits until somebody triggers again.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node

from hiwm_rig.steady_clock import STEADY_CLOCK

# s; how late a forgotten call is at most. Half a period of most tasks, and too rare to cost time.
LOOK_PERIOD = 0.05


class Wake:
    """Calls a function in the thread of a node's executor.

    Args:
        node: Whose executor.
        act: Called once or more after each `call`, never during one.
    """

    def __init__(self, node: Node, act: Callable[[], None]) -> None:
        self._node = node
        self._act = act
        self._called = False
        self._guard = node.create_guard_condition(self._run)
        self._look = node.create_timer(LOOK_PERIOD, self._run, clock=STEADY_CLOCK)

    def call(self) -> None:
        """Have it called soon; from any thread."""
        self._called = True
        self._guard.trigger()

    def destroy(self) -> None:
        """It is not called any more, nor may `call` be."""
        self._node.destroy_timer(self._look)
        self._node.destroy_guard_condition(self._guard)

    def _run(self) -> None:
        if self._called:
            # Before it acts: what is asked for meanwhile is another call.
            self._called = False
            self._act()
