# SPDX-License-Identifier: Apache-2.0
"""Asks a rig whether the policy can recover, as an action client, for tests and measurements."""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from hiwm_msgs.action import Rollout
from rclpy.action import ActionClient

from hiwm_core import contract
from test.probe import PATIENCE, Probe


class RolloutClient:
    """Asks for rollouts.

    Args:
        probe: Whose node asks.
        usual: Fields of every goal that are not given otherwise.

    Attributes:
        feedback: Of the goal that was begun last.
    """

    def __init__(self, probe: Probe, **usual: Any) -> None:
        self._node = probe.node
        self._usual = usual
        self._client = ActionClient(probe.node, Rollout, contract.ROLLOUT.name)
        assert self._client.wait_for_server(PATIENCE)
        self.feedback: list[Any] = []

    @property
    def served(self) -> bool:
        """Whether anybody takes goals."""
        return bool(self._client.server_is_ready())

    def begin(self, **goal: Any) -> Any:
        """A goal's handle, once it is accepted."""
        self.feedback = []
        handle = self._answer(
            self._client.send_goal_async,
            Rollout.Goal(**{**self._usual, **goal}),
            lambda message: self.feedback.append(message.feedback),
        )
        assert handle.accepted
        return handle

    def end(self, handle: Any) -> tuple[int, Any]:
        """A goal's status and result."""
        response = self._answer(handle.get_result_async)
        return response.status, response.result

    def ask(self, **goal: Any) -> tuple[int, Any]:
        """The status and result of a goal, begun now."""
        return self.end(self.begin(**goal))

    def cancel(self, handle: Any) -> None:
        """Tell a goal to stop; it says so before it does."""
        assert self._answer(handle.cancel_goal_async).goals_canceling

    def destroy(self) -> None:
        """Go off the graph, before the probe does."""
        self._in_executor(self._client.destroy)

    def _answer(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        return self._result(self._in_executor(ask, *arguments))

    def _in_executor(self, act: Callable[..., Any], *arguments: Any) -> Any:
        """Call in the probe's own thread: an answer may come before this one has noted the ask."""
        return self._result(self._node.executor.create_task(act, *arguments))

    def _result(self, future: Any) -> Any:
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE)
        return future.result()
