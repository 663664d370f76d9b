# SPDX-License-Identifier: Apache-2.0
"""The action `/world_model/rollout`: can the policy recover from here?

One rollout at a time, in a thread of its own, so that nothing of the session waits for it. Every
goal is accepted and a refusal is its result, because a rejected goal could not carry a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
import math
from pathlib import Path
import threading
from typing import Any

from hiwm_msgs.action import Rollout as RolloutAction
from hiwm_msgs.msg import Continuation
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from hiwm_core import contract
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.extension import NO_POLICY, open_policy
from hiwm_core.interval import wilson
from hiwm_core.policy import ClosingPolicy, Policy
from hiwm_core.rig import Rig
from hiwm_core.rollout import Rollout, check_size
from hiwm_rig.base_node import SHUTDOWN_ERRORS, fill_failure
from hiwm_rig.steps import Steps

LONGEST_END = 5.0  # s, how long a rollout gets to end when the node goes


class ThreadedActionServer(ActionServer):
    """An action server whose goals are carried out in threads of their own.

    A callback that carries a goal out in the executor would hold up everything else of the node.

    Args:
        node: Owns the server.
        perform: Carries a goal out and returns what ends it (`ServerGoalHandle.succeed`, `.abort`
            or `.canceled`) and the result; called in a thread.
    """

    def __init__(
        self,
        node: Node,
        perform: Callable[[ServerGoalHandle], tuple[Callable[[], None], Any]],
    ) -> None:
        super().__init__(
            node,
            RolloutAction,
            contract.ROLLOUT.name,
            execute_callback=self._end,
            cancel_callback=lambda handle: CancelResponse.ACCEPT,
        )
        self._perform = perform
        self._threads: list[threading.Thread] = []
        self._ends: dict[bytes, tuple[Callable[[], None], Any]] = {}

    def notify_execute(self, goal_handle: ServerGoalHandle, execute_callback: Any) -> None:
        """Begin to carry a goal out; its end is told in the executor."""

        def work() -> None:
            self._ends[bytes(goal_handle.goal_id.uuid)] = self._perform(goal_handle)
            if self._node.executor is not None:
                super(ThreadedActionServer, self).notify_execute(goal_handle, execute_callback)

        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._threads.append(threading.Thread(target=work, name='rollout', daemon=True))
        self._threads[-1].start()

    def _end(self, goal_handle: ServerGoalHandle) -> Any:
        end, result = self._ends.pop(bytes(goal_handle.goal_id.uuid))
        end()
        return result

    def destroy(self) -> None:
        """Wait for what is under way, which has been told to end, and go off the graph."""
        for thread in self._threads:
            thread.join(LONGEST_END)
        super().destroy()


class RolloutServer:
    """The rollouts of one rig.

    Args:
        node: Owns the server.
        rig: Whose nodes are continued.
        stepper: Lends its backend.
        policy: Folder or name of who drives where a goal names nobody; may be empty.
        batch: Rows that are computed together.
        active: Whether the rig is active.
    """

    def __init__(
        self,
        node: Node,
        rig: Rig,
        stepper: Steps,
        *,
        policy: str,
        batch: int,
        active: Callable[[], bool],
    ) -> None:
        self._rig = rig
        self._stepper = stepper
        self._policy_named = policy
        self._batch = batch
        self._active = active
        self._closing = False
        self._under_way = threading.Lock()
        self._loaded: tuple[Hashable, Policy] | None = None
        self._server = ThreadedActionServer(node, self._perform)

    def destroy(self) -> None:
        """End what is under way, and take the action off the graph."""
        self._closing = True
        self._server.destroy()

    # -- in a goal's thread ----------------------------------------------------------------------

    def _perform(self, handle: ServerGoalHandle) -> tuple[Callable[[], None], Any]:
        result = RolloutAction.Result(success_share=math.nan, share_high=1.0)
        try:
            if not self._under_way.acquire(blocking=False):
                raise HiwmError(
                    'a rollout is under way already; cancel it or wait for its end', ErrorCode.BUSY
                )
            try:
                self._run(handle, result)
            finally:
                self._under_way.release()
        except HiwmError as error:
            fill_failure(result, error)
        except SHUTDOWN_ERRORS as error:
            fill_failure(result, HiwmError(f'the rig is ending ({error})', ErrorCode.NOT_READY))
        except Exception as error:
            fill_failure(result, HiwmError(f'the rollout failed: {error!r}', ErrorCode.MODEL_FAULT))
        else:
            result.success = True
            return handle.succeed, result
        return (handle.canceled if handle.is_cancel_requested else handle.abort), result

    def _run(self, handle: ServerGoalHandle, result: Any) -> None:
        goal = handle.request
        check_size(goal.count, goal.horizon, goal.seed)
        with self._stepper.lock:
            if not self._active():
                raise HiwmError('the rig is not active; activate it first', ErrorCode.NOT_READY)
            node = self._rig.tree.node(goal.node) if goal.node else self._rig.head
        policy = self._policy(goal.policy or self._policy_named)
        with self._stepper.lock:
            rollout = Rollout(
                self._rig.task,
                self._rig.tree,
                node.id,
                policy,
                self._stepper.lend_backend,
                count=goal.count,
                horizon=goal.horizon,
                seed=goal.seed,
                batch=self._batch,
            )
        result.node, result.node_step, result.policy = node.id, node.step, policy.name
        try:
            while not rollout.done:
                if handle.is_cancel_requested or self._closing:
                    raise HiwmError(
                        f'the rollout was stopped after {rollout.steps} of {goal.horizon} steps',
                        ErrorCode.CANCELLED,
                    )
                self._step(rollout)
                handle.publish_feedback(_feedback(rollout))
        finally:
            _fill(result, rollout)

    def _policy(self, which: str) -> Policy:
        """The policy of that folder or name, loaded anew only if its files have changed."""
        if which in {'', NO_POLICY}:
            raise HiwmError(
                "no policy is named; name one in the goal or in the rig's parameter 'policy'"
            )
        # `NAME:PATH` names a policy of another package.
        named = Path(which).expanduser()
        folder = str(named) if named.exists() else which.partition(':')[2]
        files = sorted(Path(folder).expanduser().glob('*')) if folder else []
        # Of what a link leads to: an installed folder may be links alone.
        times = [(path.name, path.stat().st_mtime_ns) for path in files if path.exists()]
        identity = (which, tuple(times))
        if self._loaded is None or self._loaded[0] != identity:
            self._forget()
            self._loaded = (identity, open_policy(self._rig.task, which))
        return self._loaded[1]

    def _step(self, rollout: Rollout) -> None:
        try:
            rollout.step()
        except HiwmError as error:
            if error.code is ErrorCode.MODEL_FAULT:
                # A policy in a process of its own may have lost it; the next goal begins anew.
                self._forget()
            raise

    def _forget(self) -> None:
        if self._loaded is not None and isinstance(self._loaded[1], ClosingPolicy):
            self._loaded[1].close()
        self._loaded = None


def _feedback(rollout: Rollout) -> Any:
    count = len(rollout.continuations)
    return RolloutAction.Feedback(
        steps=rollout.steps,
        horizon=rollout.horizon,
        count=count,
        successes=rollout.successes,
        success_share=rollout.successes / count,
    )


def _fill(result: Any, rollout: Rollout) -> None:
    """What came of a rollout, also of one that was cut short."""
    count = len(rollout.continuations)
    result.steps = rollout.steps
    result.continuations = [
        Continuation(
            succeeded=bool(each.succeeded),
            steps_to_success=int(each.steps_to_success),
            steps=int(each.steps),
            success=float(each.success),
            progress=float(each.progress),
            best_progress=float(each.best_progress),
            fidelity=float(each.fidelity),
        )
        for each in rollout.continuations
    ]
    result.successes = rollout.successes
    result.success_share = rollout.successes / count
    result.share_low, result.share_high = wilson(rollout.successes, count)
