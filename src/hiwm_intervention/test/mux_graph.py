# SPDX-License-Identifier: Apache-2.0
"""The multiplexer's node on a live graph, beside one that plays everybody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import threading
import time
from typing import Any

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import load_task
from hiwm_intervention.action_mux_node import ActionMuxNode
from hiwm_rig.base_node import client, publisher, serve, subscription
from hiwm_rig.conversion import action_message, joint_message

PATIENCE = 30.0  # s, for what has to happen; never a measure of speed
TASK = load_task('pusht')
MIDDLE = np.array([0.25, 0.25])
SHIPPED = Path(__file__).parents[1] / 'config' / 'action_mux.yaml'


class Graph:
    """The multiplexer's node beside one that plays everybody else."""

    def __init__(self) -> None:
        self.mux = ActionMuxNode()
        self.paces: list[int] = []
        self.kept: list[tuple[str, int]] = []
        self.targets: list[Any] = []
        self.node = rclpy.create_node('everybody_else')
        self.sent: list[Any] = []
        self.states: list[MuxState] = []
        self.order: list[str] = []
        self.refusal = ''
        self.view = RigState(
            task='pusht',
            epoch=1,
            mode=RigState.MODE_PAUSED,
            pace=RigState.PACE_LOCKSTEP,
            period=TASK.period,
            can_pause=True,
        )
        self._change = threading.Condition()
        self._rig = publisher(self.node, contract.RIG_STATE)
        self._joints = publisher(self.node, contract.JOINT_STATES)
        self._sources = {
            Source.POLICY: publisher(self.node, contract.POLICY_ACTION),
            Source.OPERATOR: publisher(self.node, contract.OPERATOR_ACTION),
        }
        self.e_stop = self.node.create_publisher(Bool, '/e_stop', 1)
        subscription(self.node, contract.ACTION, self._keep(self.sent))
        subscription(self.node, contract.MUX_STATE, self._keep(self.states))
        subscription(self.node, contract.OPERATOR_TARGET, self._keep(self.targets))
        self._takeover = client(self.node, contract.TAKEOVER)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.mux)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        publishers = [self._rig, self._joints, *self._sources.values(), self.e_stop]
        self.until(
            lambda: all(one.get_subscription_count() for one in publishers), 'the graph is joined'
        )

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self.mux.destroy_node()
        self.node.destroy_node()

    def _keep(self, kept: list[Any]) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            with self._change:
                kept.append(message)
                self._change.notify_all()

        return take

    def until(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._change:
            while not (self.states and holds()):
                assert time.monotonic() < deadline, f'waited in vain until {what}'
                self._change.wait(0.05)

    def until_phase(self, phase: int) -> MuxState:
        self.until(lambda: self.states and self.states[-1].phase == phase, f'the phase is {phase}')
        return self.states[-1]

    def until_rejected(self, count: int) -> None:
        self.until(lambda: self.states[-1].rejected_actions == count, f'{count} are rejected')

    def serve_rig(self) -> None:
        """Pause and resume, as a rig serves them."""
        for service, mode in (
            (contract.PAUSE, RigState.MODE_PAUSED),
            (contract.RESUME, RigState.MODE_RUNNING),
        ):
            serve(self.node, service, self._set_mode(mode))

    def serve_pace(self) -> None:
        """How time advances, as a rig that can serves it."""

        def handle(request: Any, response: Any) -> None:
            self.paces.append(int(request.advance))
            self.view.advance = request.advance
            self.show()

        serve(self.node, contract.SET_PACE, handle)
        self.view.can_set_pace = True

    def serve_checkpoints(self) -> None:
        """Names for nodes, each once."""

        def handle(request: Any, response: Any) -> None:
            if request.name in {name for name, _ in self.kept}:
                raise HiwmError('there is one already', ErrorCode.NAME_TAKEN)
            with self._change:
                self.kept.append((str(request.name), int(request.node)))

        serve(self.node, contract.SAVE_CHECKPOINT, handle)

    def _set_mode(self, mode: int) -> Callable[[Any, Any], None]:
        def handle(request: Any, response: Any) -> None:
            if self.refusal:
                raise HiwmError(self.refusal, ErrorCode.MODEL_FAULT)
            self.view.mode = mode
            self.show()

        return handle

    def show(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.view, name, value)
        stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(joint_message(TASK.joint_names, MIDDLE, stamp))
        self.view.header.stamp = stamp
        self._rig.publish(self.view)

    def propose(self, source: Source, chosen: np.ndarray = MIDDLE, /, **changes: Any) -> None:
        action = Action(chosen, source, self.view.epoch, self.view.step, source.name.lower())
        message = action_message(TASK, action, self.node.get_clock().now().to_msg())
        for name, value in changes.items():
            setattr(message, name, value)
        self._sources[source].publish(message)

    def ask(self, event: int, operator_id: str = '') -> Any:
        """Ask once the service is there."""
        assert self._takeover.wait_for_service(PATIENCE)
        future = self._takeover.call_async(Takeover.Request(event=event, operator_id=operator_id))
        self.until(future.done, 'the takeover service answers')
        return future.result()
