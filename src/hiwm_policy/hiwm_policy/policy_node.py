# SPDX-License-Identifier: Apache-2.0
"""A policy on the graph: one proposal for every step of the rig, whoever drives.

The executor joins image, joints and state by their stamp and answers from the present chunk. One
worker thread computes chunks, always for the newest request, so that inference delays no callback.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
import sys
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import RigState
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState
import torch

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import HiwmError
from hiwm_core.extension import load_policy
from hiwm_core.observation import Observation
from hiwm_core.parameter import Parameter
from hiwm_core.task import load_task
from hiwm_policy.chunk import ChunkSchedule, Request
from hiwm_rig.base_node import DeviceNode, declare, publisher, run_node, subscription
from hiwm_rig.conversion import action_message, frame_of, joints_of, nanoseconds_of
from hiwm_rig.diagnostics import Percentiles

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'policy': Parameter('', 'folder of the weights: model.safetensors and card.json'),
    'backbone': Parameter('diffusion', 'which of the installed policies, by name'),
    'seed': Parameter(0, 'of the randomness of its samples', low=0, high=2**31 - 1),
    'threads': Parameter(1, 'threads of the network', low=1, high=64),
}
# Stamps whose image, joints or state have not all come yet.
WAITING_STAMPS = 32


class PolicyNode(DeviceNode):
    """Hosts one policy."""

    def __init__(self) -> None:
        super().__init__('policy')
        self._values = declare(self, PARAMETERS)
        self._wake = threading.Condition()
        self._request: Request | None = None
        self._stop = False
        self._active = False
        self._worker: threading.Thread | None = None
        self._answered: tuple[int, int] | None = None
        self._seq = 0
        self._latency = Percentiles()
        self._parts: OrderedDict[int, dict[str, Any]] = OrderedDict()

    # -- life cycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        torch.set_num_threads(self._values['threads'])
        self._task = load_task(self._values['task'])
        folder = self._values['policy']
        self._policy = load_policy(
            self._values['backbone'], self._task, Path(folder).expanduser() if folder else None
        )
        self._schedule = ChunkSchedule(self._policy.context, self._policy.chunk_steps)
        self._proposals = publisher(self, contract.POLICY_ACTION)
        self._diagnostics = publisher(self, contract.DIAGNOSTICS)
        subscription(self, contract.IMAGE, self._on_image)
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        subscription(self, contract.RIG_STATE, self._on_state)
        self._timer = self.create_timer(1.0, self._tell)

    def activate(self) -> None:
        self._stop, self._active = False, True
        self._worker = threading.Thread(target=self._work, name='policy', daemon=True)
        self._worker.start()
        self.get_logger().info(f"{self._policy.name} is ready: task '{self._task.name}'")

    def deactivate(self) -> None:
        self._join()

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go."""
        self._join()
        super().destroy_node()

    def _join(self) -> None:
        with self._wake:
            self._stop, self._active = True, False
            self._wake.notify()
        if self._worker is not None:
            self._worker.join(timeout=5.0)
            self._worker = None

    # -- what is seen ----------------------------------------------------------------------------

    def _on_image(self, message: Image) -> None:
        size = (message.height, message.width, 3)
        if size != self._task.frame_shape:
            height, width, _ = self._task.frame_shape
            self.get_logger().error(
                f'the camera gives {message.width}x{message.height} pixels and the policy needs '
                f"{width}x{height}; set the camera's profile or adapt its images",
                throttle_duration_sec=5.0,
            )
            return
        self._join_part(message.header.stamp, 'image', message)

    def _on_joints(self, message: JointState) -> None:
        self._join_part(message.header.stamp, 'joints', message)

    def _on_state(self, message: RigState) -> None:
        self._join_part(message.header.stamp, 'state', message)

    def _on_executed(self, message: ActionMessage) -> None:
        with self._wake:
            self._schedule.executed(
                int(message.epoch), by_policy=message.source == ActionMessage.SOURCE_POLICY
            )

    def _join_part(self, stamp: Any, name: str, message: Any) -> None:
        key = nanoseconds_of(stamp)
        parts = self._parts.setdefault(key, {})
        parts[name] = message
        if len(parts) == 3:
            del self._parts[key]
            self._observe(parts['image'], parts['joints'], parts['state'])
        while len(self._parts) > WAITING_STAMPS:
            self._parts.popitem(last=False)

    def _observe(self, image: Image, joints: JointState, state: RigState) -> None:
        try:
            observation = Observation(frame_of(image), joints_of(self._task, joints))
        except HiwmError as error:
            self.get_logger().error(error.message, throttle_duration_sec=5.0)
            return
        with self._wake:
            self._schedule.observe(
                int(state.epoch),
                int(state.step),
                int(state.node),
                observation,
                context=bool(state.context),
            )
            self._go_on()

    # -- what is proposed ------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Answer the newest step, or have its chunk computed. The lock is held."""
        if not self._active:
            return
        answer = self._schedule.answer()
        if answer is not None:
            self._propose(*answer)
            return
        request = self._schedule.request()
        if request is not None:
            self._request = request
            self._wake.notify()

    def _propose(self, epoch: int, step: int, values: NDArray[np.float64]) -> None:
        if self._answered == (epoch, step):
            return
        self._answered = (epoch, step)
        action = Action(values, Source.POLICY, epoch, step, self._policy.name, self._seq)
        self._seq += 1
        now = self.get_clock().now().to_msg()
        self._proposals.publish(action_message(self._task, action, now))

    def _work(self) -> None:
        while True:
            with self._wake:
                while self._request is None and not self._stop:
                    self._wake.wait()
                if self._stop:
                    return
                request, self._request = self._request, None
            assert request is not None
            chunk = self._infer(request)
            if chunk is None:
                continue
            with self._wake:
                self._schedule.complete(request, chunk)
                self._go_on()

    def _infer(self, request: Request) -> NDArray[np.float64] | None:
        seed = np.random.SeedSequence([self._values['seed'], request.epoch, request.step])
        key = int(seed.generate_state(1, np.uint64)[0])
        try:
            with self._latency.timing():
                chunk = self._policy.chunk(request.history, key)
        except Exception as error:
            self.get_logger().error(
                f'the policy failed at step {request.step}: {error}', throttle_duration_sec=5.0
            )
            return None
        if not np.isfinite(chunk).all():
            self.get_logger().error(
                f'the policy gave values that are not finite at step {request.step}',
                throttle_duration_sec=5.0,
            )
            return None
        return chunk

    def _tell(self) -> None:
        status = DiagnosticStatus(
            level=DiagnosticStatus.OK if self._active else DiagnosticStatus.WARN,
            name=self.get_name(),
            message='active' if self._active else 'inactive',
            values=[
                KeyValue(key='policy', value=self._policy.name),
                KeyValue(key='proposals', value=str(self._seq)),
                *self._latency.entries('chunk'),
            ],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main() -> None:
    """The executable `policy`; exits with 1 and one sentence if the weights cannot be used."""
    sys.exit(run_node(PolicyNode))
