# SPDX-License-Identifier: Apache-2.0
"""The client of one lifecycle node: asks for transitions and hears of them.

It is the only module here that imports rclpy. Its node spins in a thread of its own, in a context
of its own, which leaves the launch's signal handlers alone.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import os
import threading
from typing import Any

from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
import rclpy
from rclpy.client import Client
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

#: Seconds without an answer after which the node is asked what state it is in.
ANSWER = 1.0
POLL = 0.1
#: The state between, by the transition asked for.
TRANSITION_STATES = {
    Transition.TRANSITION_CONFIGURE: 'configuring',
    Transition.TRANSITION_CLEANUP: 'cleaningup',
    Transition.TRANSITION_ACTIVATE: 'activating',
    Transition.TRANSITION_DEACTIVATE: 'deactivating',
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: 'shuttingdown',
    Transition.TRANSITION_INACTIVE_SHUTDOWN: 'shuttingdown',
    Transition.TRANSITION_ACTIVE_SHUTDOWN: 'shuttingdown',
}


class LifecycleClient:
    """Calls `change_state` and `get_state` of one node, and follows its `transition_event`."""

    def __init__(self, node_name: str, on_transition: Callable[[Any], None]) -> None:
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node(
            f'launch_ros_{os.getpid()}',
            context=self._context,
            start_parameter_services=False,
            enable_rosout=False,
        )
        self._on_transition = on_transition
        self._arrived = threading.Event()
        self._node.create_subscription(
            TransitionEvent, f'{node_name}/transition_event', self._hear, 10
        )
        self._change = self._node.create_client(ChangeState, f'{node_name}/change_state')
        self._get = self._node.create_client(GetState, f'{node_name}/get_state')
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop spinning and leave the graph."""
        self._context.try_shutdown()
        self._thread.join()
        self._node.destroy_node()

    def change_state(self, transition_id: int, abandoned: Callable[[], bool]) -> bool | None:
        """Ask for a transition until the node has taken note of it.

        Returns:
            Whether the node made the transition, or None if `abandoned()` became true before.
        """
        start = self._state(abandoned)
        if start is None or not self._wait_for_service(self._change, abandoned):
            return None
        request = ChangeState.Request()
        request.transition.id = transition_id
        self._arrived.clear()
        answer = self._change.call_async(request)
        while not _wait(answer, ANSWER, abandoned):
            # Either the request was lost, or the transition takes its time.
            now = self._state(abandoned)
            if now is None:
                return None
            if now.id >= State.TRANSITION_STATE_CONFIGURING:
                continue
            if now.id != start.id:
                break
            if not _wait(answer, ANSWER, abandoned):
                answer.cancel()
                answer = self._change.call_async(request)
        success = answer.result().success if answer.done() else True
        if success and not self._arrived.wait(ANSWER):
            self._make_up_event(transition_id, self._state(abandoned))
        return bool(success)

    def _spin(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _hear(self, message: TransitionEvent) -> None:
        if message.goal_state.id < State.TRANSITION_STATE_CONFIGURING:
            self._arrived.set()
        self._on_transition(message)

    def _make_up_event(self, transition_id: int, goal: State | None) -> None:
        """Tell of a transition whose event was lost: it is published once and not latched."""
        if goal is not None:
            message = TransitionEvent(goal_state=goal)
            message.timestamp = self._node.get_clock().now().nanoseconds
            message.transition.label = 'transition_success'
            message.start_state.label = TRANSITION_STATES.get(transition_id, 'unknown')
            self._on_transition(message)

    def _state(self, abandoned: Callable[[], bool]) -> State | None:
        """Return the node's state, asking until it answers; None if abandoned."""
        while self._wait_for_service(self._get, abandoned):
            answer = self._get.call_async(GetState.Request())
            if _wait(answer, ANSWER, abandoned):
                return answer.result().current_state
            answer.cancel()
        return None

    def _wait_for_service(self, client: Client, abandoned: Callable[[], bool]) -> bool:
        while not abandoned():
            if client.wait_for_service(timeout_sec=POLL):
                return True
        return False


def _wait(answer: Future, seconds: float, abandoned: Callable[[], bool]) -> bool:
    """Wait for an answer; returns whether it came in time."""
    done = threading.Event()
    answer.add_done_callback(lambda _: done.set())
    for _ in range(round(seconds / POLL)):
        if done.wait(POLL) or abandoned():
            break
    return bool(answer.done() and not answer.cancelled())
