# SPDX-License-Identifier: Apache-2.0
"""The policy on the graph: frames, joints and the rig's state in, one action for every step out.

`hiwm_core.alignment` says which image, joints and state make a frame. What answers a step, and when
a chunk is asked for, is `chunk.ChunkSchedule`; the network runs in a thread of its own with a slot
for the latest request, and the executor's thread only looks into tables and publishes. Steps are
answered also while a person drives: those are the shadow actions of the recording.

Every chunk's randomness is a function of the seed, the epoch and the step, so a session in lockstep
can be repeated, and a branch from the same node tries something else.
"""

from __future__ import annotations

from contextlib import ExitStack

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import RigState
import numpy as np
from sensor_msgs.msg import Image, JointState
import torch

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.alignment import FrameJoin, JoinedFrame
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.extension import open_policy
from hiwm_core.observation import Observation
from hiwm_core.parameter import Parameter
from hiwm_core.policy import ClosingPolicy
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task, load_task
from hiwm_policy.chunk import Answer, ChunkSchedule, Outcome
from hiwm_policy.inference import Inference
from hiwm_policy.policy import check_frame
from hiwm_rig.base_node import DeviceNode, declare, publisher, run_node, subscription
from hiwm_rig.conversion import action_message, frame_of, joints_of, nanoseconds_of
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_rig.wake import Wake

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'policy': Parameter(
        '', "folder of the policy's weights and card, or lerobot:FOLDER for a LeRobot checkpoint"
    ),
    'seed': Parameter(0, 'of all randomness', low=0),
    'spread': Parameter(
        False,
        'draw a second chunk each time and tell how far the two lie apart, for an automatic pause; '
        'doubles the time that a chunk takes',
    ),
    'threads': Parameter(1, 'threads of the network; more only where cores are idle', low=1),
}

# In realtime a chunk's successor is asked for so many steps before its end.
REALTIME_LEAD = 1
DIAGNOSTICS_PERIOD = 1.0


class PolicyNode(DeviceNode):
    """Answers every step of the rig with an action."""

    def __init__(self) -> None:
        super().__init__('policy')
        self._values = declare(self, PARAMETERS)
        self._acquired = ExitStack()
        self._active = False
        self._fault = ''
        self._sequence = 0

    # -- life cycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        try:
            self._acquire()
        except BaseException:
            self._acquired.close()
            raise

    def _acquire(self) -> None:
        which = self._values['policy']
        if not which:
            raise ConfigurationError(
                "the parameter 'policy' is empty; give the folder of a policy's weights"
            )
        torch.set_num_threads(self._values['threads'])
        self._task: Task = load_task(self._values['task'])
        policy = open_policy(self._task, which)
        acquired = self._acquired
        if isinstance(policy, ClosingPolicy):
            acquired.callback(policy.close)
        self._policy = policy
        self._schedule = ChunkSchedule(policy.context, policy.chunk_steps)
        if policy.context > contract.CONTEXT_FRAMES:
            self.get_logger().warning(
                f'the policy looks back on {policy.context} frames; after a rollback a rig shows '
                f"{contract.CONTEXT_FRAMES} unless its parameter 'context_frames' says more, and "
                'the oldest one stands for those before'
            )
        self._join = FrameJoin(self._task.period)
        self._knows_joints = False
        self._ready = False
        self._actions = publisher(self, contract.POLICY_ACTION)
        acquired.callback(self.destroy_publisher, self._actions)
        self._diagnostics = publisher(self, contract.DIAGNOSTICS)
        acquired.callback(self.destroy_publisher, self._diagnostics)
        done = Wake(self, self._on_chunks)
        acquired.callback(done.destroy)
        unit = self._task.action_max_step if self._values['spread'] else None
        self._inference = Inference(policy, self._values['seed'], done.call, unit)
        acquired.callback(self._inference.stop)
        for topic, callback in (
            (contract.IMAGE, self._on_image),
            (contract.JOINT_STATES, self._on_joints),
            (contract.RIG_STATE, self._on_state),
            (contract.RIG_EXECUTED, self._on_executed),
        ):
            acquired.callback(self.destroy_subscription, subscription(self, topic, callback))
        timer = self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=STEADY_CLOCK)
        acquired.callback(self.destroy_timer, timer)
        self.get_logger().info(
            f"policy '{policy.name}' is ready for task '{self._task.name}': {which}"
        )

    def activate(self) -> None:
        self._active = True

    def deactivate(self) -> None:
        self._active = False

    def cleanup(self) -> None:
        self._acquired.close()

    def destroy_node(self) -> None:
        """Stop the thread before what it triggers goes."""
        self._active = False
        self._acquired.close()
        super().destroy_node()

    # -- what comes in ---------------------------------------------------------------------------

    def _on_image(self, message: Image) -> None:
        if self._active:
            self._on_frames(self._join.image(nanoseconds_of(message.header.stamp), message))

    def _on_joints(self, message: JointState) -> None:
        if not self._active:
            return
        missing = set(self._task.joint_names) - set(message.name)
        if not missing:
            self._knows_joints = True
            self._on_frames(self._join.joints(nanoseconds_of(message.header.stamp), message))
        elif not self._knows_joints:
            # Later, other devices may report joints of their own on the same topic.
            lacking = ', '.join(sorted(missing))
            self._report(f'a joint state lacks {lacking}; it has {", ".join(message.name)}')

    def _on_state(self, message: RigState) -> None:
        if self._active:
            self._on_frames(self._join.state(nanoseconds_of(message.header.stamp), message))

    def _on_executed(self, message: ActionMessage) -> None:
        if self._active:
            known = message.source in set(Source)
            source = Source(message.source) if known else Source.NONE
            self._schedule.executed(int(message.epoch), source)

    def _on_frames(self, frames: list[JoinedFrame]) -> None:
        for frame in frames:
            self._on_frame(frame.image, frame.joints, frame.state)

    def _on_frame(self, image: Image, joints: JointState, state: RigState) -> None:
        try:
            if state.task != self._task.name:
                raise HiwmError(
                    f"the rig runs task '{state.task}', the policy is for '{self._task.name}'"
                )
            frame = frame_of(image)
            check_frame(self._task, frame)
            observation = Observation(
                frame=np.ascontiguousarray(frame), joints=joints_of(self._task, joints)
            )
        except HiwmError as error:
            self._report(error.message)
            return
        self._fault = ''
        schedule = self._schedule
        schedule.lead = REALTIME_LEAD if state.pace == Pace.REALTIME else 0
        self._do(
            schedule.observe(
                int(state.epoch), int(state.step), observation, context=bool(state.context)
            )
        )
        if state.mode != Mode.RUNNING and not state.context:
            self._do(schedule.paused())

    def _on_chunks(self) -> None:
        for request, result in self._inference.results():
            if isinstance(result, str):
                self._report(result)
                self._schedule.failed(request)
            else:
                self._ready = True
                self._do(self._schedule.receive(request, result))

    # -- what goes out ---------------------------------------------------------------------------

    def _do(self, outcome: Outcome) -> None:
        if outcome.request is not None:
            self._inference.ask(outcome.request)
        if outcome.answer is not None:
            self._publish(outcome.answer)

    def _publish(self, answer: Answer) -> None:
        action = Action(
            values=answer.values,
            source=Source.POLICY,
            epoch=answer.epoch,
            step=answer.step,
            device=self._policy.name,
            seq=self._sequence,
            spread=answer.spread,
        )
        self._sequence = (self._sequence + 1) % 2**32
        self._actions.publish(action_message(self._task, action, self.get_clock().now().to_msg()))

    def _report(self, sentence: str) -> None:
        """Say what is wrong, and say it again only when it has changed."""
        if sentence != self._fault:
            self.get_logger().error(sentence)
        self._fault = sentence

    def _publish_diagnostics(self) -> None:
        if self._fault:
            level, message = DiagnosticStatus.ERROR, self._fault
        elif self._ready:
            level, message = DiagnosticStatus.OK, 'ready'
        else:
            level, message = DiagnosticStatus.WARN, 'no chunk has been computed yet'
        values = [
            KeyValue(key='ready', value=str(self._ready).lower()),
            KeyValue(key='chunks dropped', value=str(self._schedule.dropped)),
        ]
        # A tuple is one uninterrupted copy; the thread may add a value at any moment.
        latencies = tuple(self._inference.latencies)
        if latencies:
            for name, value in zip(('p50', 'p95'), np.percentile(latencies, (50, 95)), strict=True):
                values.append(
                    KeyValue(key=f'chunk latency {name} (ms)', value=f'{value * 1e3:.2f}')
                )
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        array.status = [
            DiagnosticStatus(level=level, name=self.get_name(), message=message, values=values)
        ]
        self._diagnostics.publish(array)


def main() -> int:
    """The executable `policy`."""
    return run_node(PolicyNode)
