# SPDX-License-Identifier: Apache-2.0
"""A rig on the graph, around any backend: life cycle, services and the topic of actions.

What is published and when is in `rig_publisher` and `stepper`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
import tempfile
import time
from typing import Any

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import TreeEvent
import numpy as np
import rclpy
from rclpy.timer import Timer

from hiwm_core import contract
from hiwm_core.backend import Backend
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Mode, Pace, Rig
from hiwm_core.rollout import MOST_CONTINUATIONS
from hiwm_core.rollout_tree import Node, RolloutTree
from hiwm_core.task import Task, load_task
from hiwm_rig.base_node import SHUTDOWN_ERRORS, DeviceNode, declare, serve, subscription
from hiwm_rig.conversion import action_of, nanoseconds_of
from hiwm_rig.diagnostics import Diagnostics
from hiwm_rig.frame_service import fill_frames
from hiwm_rig.pacing import Pacing
from hiwm_rig.rig_publisher import RigPublisher
from hiwm_rig.rollout_server import RolloutServer
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_rig.stepper import Stepper
from hiwm_rig.steps import Steps
from hiwm_rig.tree_service import fill_tree

MOST_STEPS = 100
LAST_WORDS = 0.5  # s, from a fault that ends the process to its end

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'session': Parameter('session', "the session's name, as recorded"),
    'session_dir': Parameter('', 'folder of the rollout tree; empty: it is not kept'),
    'pace': Parameter(
        'realtime',
        'realtime: a frame every period; lockstep: a frame when the action for the step has come',
        choices=('realtime', 'lockstep'),
    ),
    'seed': Parameter(
        0,
        'start of the task to begin with, and the seed of all randomness; -1: wait for a reset',
        low=-1,
    ),
    'start': Parameter('paused', 'how the rig begins', choices=('paused', 'running')),
    'context_frames': Parameter(
        contract.CONTEXT_FRAMES,
        'how many frames are shown again after a rollback or branch',
        low=1,
        high=contract.FRAME.depth,
    ),
    'policy': Parameter(
        '', "folder of a policy's weights, or its name, that drives rollouts which name none"
    ),
    'rollout_batch': Parameter(
        8,
        "rows of a rollout that are computed together; one of the rig's steps may wait for so many",
        low=1,
        high=MOST_CONTINUATIONS,
    ),
}


class RigNode(DeviceNode):
    """A backend behind the rig contract.

    Args:
        name: The node's name, and the rig's in `RigState.rig`, whatever backend it has.
        make_backend: Called on configure with the task and the values of all parameters; may raise
            HiwmError.
        parameters: Parameters besides the common ones.
    """

    def __init__(
        self,
        name: str,
        make_backend: Callable[[Task, dict[str, Any]], Backend],
        parameters: Mapping[str, Parameter] | None = None,
    ) -> None:
        super().__init__(name)
        self.exit_code = 0
        self._rig_name = name
        self._make_backend = make_backend
        self._values = declare(self, {**PARAMETERS, **(parameters or {})})
        self._pacing = Pacing(Pace[self._values['pace'].upper()])
        self._active = False
        self._acquired = ExitStack()
        self._pace_timer: Timer | None = None

    # -- life cycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        try:
            self._acquire()
        except BaseException:
            self._acquired.close()
            raise

    def _acquire(self) -> None:
        acquired = self._acquired
        self._task = load_task(self._values['task'])
        self._open_backend()
        folder = self._values['session_dir'] or acquired.enter_context(
            tempfile.TemporaryDirectory(prefix='hiwm-rig-')
        )
        tree = RolloutTree(Path(folder).expanduser(), max(0, self._values['seed']))
        acquired.callback(tree.close)
        self._rig = Rig(self._task, tree)
        self._diagnostics = Diagnostics(self, self._task.period)
        acquired.callback(self._diagnostics.destroy)
        self._topics = self._make_topics()
        acquired.callback(self._topics.destroy)
        self._stepper = self._make_stepper()
        acquired.callback(
            self.destroy_subscription, subscription(self, contract.ACTION, self._on_action)
        )
        for service, handle in (
            (contract.RESET, self._on_reset),
            (contract.PAUSE, self._on_pause),
            (contract.RESUME, self._on_resume),
            (contract.STEP, self._on_step),
            (contract.SAVE_CHECKPOINT, self._on_save_checkpoint),
            (contract.ROLLBACK, self._on_rollback),
            (contract.BRANCH, self._on_branch),
            (contract.GET_TREE, self._on_get_tree),
            (contract.LABEL, self._on_label),
            (contract.GET_FRAMES, self._on_get_frames),
            (contract.SET_PACE, self._on_set_pace),
        ):
            acquired.callback(self.destroy_service, serve(self, service, self._guarded(handle)))
        rollouts = RolloutServer(
            self,
            self._rig,
            self._stepper,
            policy=self._values['policy'],
            batch=self._values['rollout_batch'],
            active=lambda: self._active,
        )
        acquired.callback(rollouts.destroy)

    # What a rig without a backend, such as a physical arm, does in its own way.

    def _open_backend(self) -> None:
        self._backend = self._make_backend(self._task, self._values)

    def _make_topics(self) -> RigPublisher:
        return RigPublisher(
            self,
            self._rig,
            name=self._rig_name,
            session=self._values['session'],
            pacing=self._pacing,
            diagnostics=self._diagnostics,
        )

    def _make_stepper(self) -> Steps:
        return Stepper(
            rig=self._rig,
            backend=self._backend,
            pacing=self._pacing,
            topics=self._topics,
            diagnostics=self._diagnostics,
            warn=self.get_logger().warning,
            report=self.get_logger().error,
            halt=self._on_worker_fault,
        )

    def activate(self) -> None:
        with self._stepper.lock:
            self._begin_session()
            self._active = True
        self._stepper.start()
        self._begin_periods()
        self.get_logger().info(
            f"{self.get_name()} is ready: task '{self._task.name}', "
            f'{self._pacing.pace.name.lower()}'
        )

    def _begin_periods(self) -> None:
        if self._pace_timer is not None:
            self.destroy_timer(self._pace_timer)
        # The period is kept on a steady clock: a clock that is set, or stands still, is no pace.
        self._pace_timer = self.create_timer(
            self._task.period / self._pacing.speed, self._stepper.tick, clock=STEADY_CLOCK
        )

    def _begin_session(self) -> None:
        tree, seed = self._rig.tree, self._values['seed']
        if tree.head:
            self.get_logger().info(
                f'the session goes on from {tree.nodes[tree.head].step} steps into '
                f"'{self._rig.branch}' ({len(tree.nodes)} nodes)"
            )
            tree.move_head(tree.head, tree.head_branch)
            self._show_context()
        elif seed >= 0:
            self._reset(self._task.start_scene(seed), seed)
        if self._values['start'] == 'running':
            self._stepper.resume()

    def deactivate(self) -> None:
        self._stop_time()
        with self._stepper.lock:
            self._active = False
            # Before the first reset there is nothing to pause.
            with suppress(HiwmError):
                self._stepper.pause()

    def cleanup(self) -> None:
        self._acquired.close()

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go, and close the tree."""
        self._stop_time()
        self._acquired.close()
        super().destroy_node()

    def _stop_time(self) -> None:
        if self._pace_timer is not None:
            self.destroy_timer(self._pace_timer)
            self._pace_timer = None
            self._stepper.stop()

    # -- actions and faults ----------------------------------------------------------------------

    def _on_action(self, message: ActionMessage) -> None:
        arrived = time.monotonic()
        with self._stepper.lock:
            try:
                action = action_of(self._task, message)
            except HiwmError as error:
                self._rig.reject()
                self.get_logger().warning(
                    f'rejected an action: {error.message}', throttle_duration_sec=1.0
                )
                return
            self._diagnostics.action(nanoseconds_of(message.header.stamp))
            self._stepper.receive(action, arrived)

    def _on_worker_fault(self, error: Exception) -> None:
        if isinstance(error, SHUTDOWN_ERRORS) and not self.context.ok():
            return
        self._halt(error.message if isinstance(error, HiwmError) else f'a step failed: {error!r}')

    def _halt(self, sentence: str) -> None:
        """What cannot be stored must not go on: the session ends with an error."""
        with self._stepper.lock:
            self._active = False
            self.exit_code = 1
            self._rig.fail(sentence)
            self.get_logger().error(sentence)
            if self._rig.tree.head:
                self._topics.show_head()
        if self.executor is not None:
            self.executor.create_task(self._shut_down_soon)

    def _shut_down_soon(self) -> None:
        """Shut down once the last state, and the answer to whoever caused the fault, are out."""
        self.create_timer(LAST_WORDS, rclpy.try_shutdown, clock=STEADY_CLOCK)

    # -- services --------------------------------------------------------------------------------

    def _guarded(self, handle: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
        """A handler under the rig's lock, refused where the rig is not active."""

        def guarded(request: Any, response: Any) -> None:
            with self._stepper.lock:
                if not self._active:
                    raise HiwmError(
                        f'{self.get_name()} is not active; activate it first', ErrorCode.NOT_READY
                    )
                try:
                    handle(request, response)
                except HiwmError as error:
                    if error.code is ErrorCode.STORAGE_FAULT:
                        self._halt(error.message)
                    raise

        return guarded

    def _reset(self, scene: np.ndarray, seed: int) -> Node:
        came_from = self._rig.tree.head
        node = self._stepper.reset(scene)
        self._topics.tell(TreeEvent.KIND_RESET, node, node.branch, from_node=came_from, seed=seed)
        self._show_context()
        return node

    def _show_context(self) -> None:
        self._topics.show_context(self._values['context_frames'])

    def _on_reset(self, request: Any, response: Any) -> None:
        if len(request.scene):
            seed, scene = -1, self._task.check_scene(np.array(request.scene))
        else:
            seed = request.seed if request.seed >= 0 else self._rig.draw_seed()
            scene = self._task.start_scene(seed)
        node = self._reset(scene, seed)
        response.epoch, response.node, response.seed = self._rig.tree.epoch, node.id, seed

    def _on_pause(self, request: Any, response: Any) -> None:
        self._stepper.pause()
        response.step = self._rig.head.step

    def _on_resume(self, request: Any, response: Any) -> None:
        if self._rig.mode is not Mode.RUNNING and self._pace_timer is not None:
            # A whole period from now, so that there is time to answer the frame.
            self._pace_timer.reset()
        self._stepper.resume()

    def _on_step(self, request: Any, response: Any) -> None:
        if not 1 <= request.count <= MOST_STEPS:
            raise HiwmError(f'a count of steps is 1 to {MOST_STEPS}, not {request.count}')
        self._stepper.step_by_hand(request.count)
        response.node, response.step = self._rig.head.id, self._rig.head.step

    def _on_save_checkpoint(self, request: Any, response: Any) -> None:
        node = self._rig.save_checkpoint(request.name, request.node)
        self._topics.tell(TreeEvent.KIND_CHECKPOINT, node, node.branch, name=request.name)
        response.node = node.id

    def _on_rollback(self, request: Any, response: Any) -> None:
        came_from = self._rig.head.id
        node = self._rig.rollback(
            node=request.node, checkpoint=request.checkpoint, steps=request.steps
        )
        self._topics.tell(TreeEvent.KIND_ROLLBACK, node, self._rig.branch, from_node=came_from)
        self._show_context()
        response.epoch, response.node, response.step = self._rig.tree.epoch, node.id, node.step

    def _on_branch(self, request: Any, response: Any) -> None:
        came_from = self._rig.head.id
        branch = self._rig.fork(node=request.node, name=request.name, resample=request.resample)
        self._topics.tell(TreeEvent.KIND_BRANCH, self._rig.head, branch.name, from_node=came_from)
        self._show_context()
        response.branch, response.node = branch.name, branch.fork
        response.epoch = self._rig.tree.epoch

    def _on_label(self, request: Any, response: Any) -> None:
        branch = self._rig.label(request.branch, request.label, request.note)
        head = self._rig.tree.node(branch.head)
        self._topics.tell(
            TreeEvent.KIND_LABEL, head, branch.name, label=int(branch.label), note=branch.note
        )
        response.branch, response.node = branch.name, branch.head

    def _on_get_frames(self, request: Any, response: Any) -> None:
        fill_frames(self._rig.tree, request, response)

    def _on_set_pace(self, request: Any, response: Any) -> None:
        speed = self._pacing.speed
        self._stepper.set_pace(int(request.advance), float(request.speed))
        if self._pacing.speed != speed:
            self._diagnostics.speed = self._pacing.speed
            self._begin_periods()
        response.advance, response.speed = int(self._pacing.advance), self._pacing.speed

    def _on_get_tree(self, request: Any, response: Any) -> None:
        fill_tree(self._rig.tree, request, response)
