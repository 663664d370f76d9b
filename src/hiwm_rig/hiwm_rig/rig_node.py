# SPDX-License-Identifier: Apache-2.0
"""A rig on the graph, around any backend: frames, services, epochs and pace.

Threads: the executor answers services and takes actions in; one worker computes steps and publishes
them. Both share the rig under a lock that is never held while a backend computes a step, so a slow
backend delays its own frames and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
import tempfile
import threading
from typing import Any

from hiwm_core import contract
from hiwm_core.action import Action
from hiwm_core.backend import Backend
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Mode, Pace, Rig, StepRequest
from hiwm_core.rollout_tree import Branch, Node, RolloutTree
from hiwm_core.task import Task, load_task
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import RigState, TreeBranch, TreeEvent, TreeNode
import numpy as np
import rclpy

from hiwm_rig.base_node import DeviceNode, declare, publisher, serve, subscription
from hiwm_rig.conversion import (
    action_message,
    action_of,
    camera_info_message,
    image_message,
    joint_message,
    nanoseconds_of,
    time_message,
)
from hiwm_rig.diagnostics import Diagnostics

MOST_STEPS = 100
MOST_NODES = 1000

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'session': Parameter('session', "the session's name, as recorded"),
    'session_dir': Parameter('', 'folder of the rollout tree; empty: it is not kept'),
    'pace': Parameter(
        'realtime',
        'realtime: a frame every period; lockstep: a frame when the action for the step has come',
        choices=('realtime', 'lockstep'),
    ),
    'seed': Parameter(0, 'start of the task to begin with, and the seed of all randomness', low=0),
    'start': Parameter('paused', 'how the rig begins', choices=('paused', 'running')),
    'context_frames': Parameter(
        4, 'how many frames are shown again after a rollback or branch', low=1, high=64
    ),
}


class RigNode(DeviceNode):
    """A backend behind the rig contract.

    Args:
        name: The node's name, and the rig's.
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
        self._make_backend = make_backend
        self._values = declare(self, {**PARAMETERS, **(parameters or {})})
        self._pace = Pace[self._values['pace'].upper()]
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._due = False
        self._stop = False
        self._stamp_ns = 0
        self._seq = 0

    # -- life cycle ------------------------------------------------------------------------------

    def configure(self) -> None:
        self._task = load_task(self._values['task'])
        self._backend = self._make_backend(self._task, self._values)
        folder = self._values['session_dir']
        self._scratch = None if folder else tempfile.TemporaryDirectory(prefix='hiwm-rig-')
        tree = RolloutTree(Path(folder or self._scratch.name), self._values['seed'])  # type: ignore[union-attr]
        self._rig = Rig(self._task, tree, self._backend.context)
        self._image = publisher(self, contract.IMAGE)
        self._info = publisher(self, contract.CAMERA_INFO)
        self._joints = publisher(self, contract.JOINT_STATES)
        self._state = publisher(self, contract.RIG_STATE)
        self._executed = publisher(self, contract.RIG_EXECUTED)
        self._events = publisher(self, contract.RIG_TREE)
        self._diagnostics = Diagnostics(self, self._task.period)
        subscription(self, contract.ACTION, self._on_action)
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
        ):
            serve(self, service, handle)

    def activate(self) -> None:
        tree = self._rig.tree
        if tree.head:
            self.get_logger().info(
                f'the session goes on from {tree.nodes[tree.head].step} steps into '
                f"'{self._rig.branch}' ({len(tree.nodes)} nodes)"
            )
            tree.move_head(tree.head)
            self._show_context()
        else:
            self._reset(self._task.start_scene(self._values['seed']), self._values['seed'])
        if self._values['start'] == 'running':
            self._rig.resume()
            self._show(self._rig.head)
        self._stop = False
        self._worker = threading.Thread(target=self._work, name='backend', daemon=True)
        self._worker.start()
        self._timer = self.create_timer(self._task.period, self._on_tick)
        self.get_logger().info(
            f"{self._backend.name} is ready: task '{self._task.name}', {self._pace.name.lower()}"
        )

    def deactivate(self) -> None:
        self.destroy_timer(self._timer)
        self._join()

    def cleanup(self) -> None:
        self._rig.tree.close()

    def destroy_node(self) -> None:
        """Stop the worker before the publishers go."""
        self._join()
        super().destroy_node()

    def _join(self) -> None:
        with self._wake:
            self._stop = True
            self._wake.notify()
        if getattr(self, '_worker', None) is not None:
            self._worker.join(timeout=5.0)

    # -- time ------------------------------------------------------------------------------------

    def _on_tick(self) -> None:
        """In realtime: the next step. Where time stands still, a camera still shows what is there."""
        with self._wake:
            running = self._rig.mode is Mode.RUNNING
            if running and self._pace is Pace.REALTIME:
                if self._due:
                    self._rig.missed_deadlines += 1
                    return
                self._due = True
                self._wake.notify()
            elif not running:
                self._show(self._rig.head)

    def _on_action(self, message: ActionMessage) -> None:
        with self._wake:
            try:
                action = action_of(self._task, message)
            except HiwmError as error:
                self._rig.reject()
                self.get_logger().warning(
                    f'rejected an action: {error.message}', throttle_duration_sec=1.0
                )
                return
            self._diagnostics.action(nanoseconds_of(message.header.stamp))
            answers = self._rig.receive(action)
            if answers and self._pace is Pace.LOCKSTEP and self._rig.mode is Mode.RUNNING:
                self._due = True
                self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._due or self._stop):
                    self._wake.wait()
                if self._stop:
                    return
                request = self._begin() if self._rig.mode is Mode.RUNNING else None
            if request is not None:
                self._compute(request)
            with self._wake:
                self._due = False

    def _begin(self) -> StepRequest | None:
        try:
            return self._rig.begin_step()
        except HiwmError as error:
            self._halt(error)
            return None

    def _compute(self, request: StepRequest) -> Node | None:
        """One step without the lock, then its result with it."""
        try:
            with self._diagnostics.computing():
                observation = self._backend.step(
                    request.history, request.action.values, request.key
                )
        except Exception as error:
            with self._lock:
                if request.epoch == self._rig.tree.epoch:
                    self._rig.fail(f'the {self._backend.name} failed in a step: {error}')
                    self.get_logger().error(self._rig.message)
                    self._show(self._rig.head)
            return None
        with self._lock:
            try:
                node = self._rig.finish_step(request, observation)
            except HiwmError as error:
                self._halt(error)
                return None
            if node is not None:
                self._show(node, executed=request.action)
            return node

    def _halt(self, error: HiwmError) -> None:
        """What cannot be stored must not go on: the session ends with an error."""
        self._rig.fail(error.message)
        self.get_logger().error(error.message)
        self.exit_code = 1
        self._stop = True
        self._show(self._rig.head)
        rclpy.try_shutdown()

    # -- publishing ------------------------------------------------------------------------------

    def _next_stamp(self) -> int:
        """Nanoseconds of now, later than every stamp before."""
        self._stamp_ns = max(self.get_clock().now().nanoseconds, self._stamp_ns + 1)
        return self._stamp_ns

    def _show(self, node: Node, *, executed: Action | None = None, context: bool = False) -> None:
        """Publish a node: image, info, joints, the action that led to it, and the state last."""
        observation = self._rig.tree.observation(node.id)
        stamp = time_message(self._next_stamp())
        self._image.publish(image_message(observation.frame, stamp))
        self._info.publish(camera_info_message(self._task.camera, stamp))
        self._joints.publish(joint_message(self._task.joint_names, observation.joints, stamp))
        if executed is not None:
            self._executed.publish(action_message(self._task, executed, stamp))
        state = self._state_message(node, observation)
        state.header.stamp = stamp
        state.context = context
        self._state.publish(state)
        self._diagnostics.frame()

    def _show_context(self) -> None:
        """Publish the past of the head again, under the new epoch."""
        nodes = self._rig.context_nodes(self._values['context_frames'])
        for node in nodes[:-1]:
            self._show(node, context=True)
        self._show(nodes[-1])

    def _state_message(self, node: Node, observation: Observation) -> RigState:
        rig = self._rig
        state = RigState()
        state.session = self._values['session']
        state.task = self._task.name
        state.rig = self._backend.name
        state.epoch = rig.tree.epoch
        state.node = node.id
        state.parent = node.parent
        state.branch = rig.branch
        state.step = node.step
        state.mode = int(rig.mode)
        state.pace = int(self._pace)
        state.period = self._task.period
        state.can_pause = state.can_rollback = state.can_branch = True
        state.progress = float(observation.progress)
        state.success = float(observation.success)
        state.fidelity = float(observation.fidelity)
        if observation.scene.size:
            state.scene_names = list(self._task.scene_names)
            state.scene_values = [float(value) for value in observation.scene]
        state.executed_actions = rig.executed_actions
        state.dropped_actions = rig.dropped_actions
        state.rejected_actions = rig.rejected_actions
        state.missed_deadlines = rig.missed_deadlines
        state.message = rig.message
        return state

    def _tell(self, kind: int, node: Node, branch: str, **fields: Any) -> None:
        event = TreeEvent()
        event.header.stamp = time_message(self._next_stamp())
        event.kind = kind
        event.epoch = self._rig.tree.epoch
        event.node = node.id
        event.branch = branch
        event.seed = -1
        for name, value in fields.items():
            setattr(event, name, value)
        self._events.publish(event)

    # -- services --------------------------------------------------------------------------------

    def _reset(self, scene: np.ndarray, seed: int) -> Node:
        came_from = self._rig.tree.head
        key = self._rig.tree.root_key(scene)
        node = self._rig.reset(self._backend.reset(scene, key), key)
        self._tell(TreeEvent.KIND_RESET, node, node.branch, from_node=came_from, seed=seed)
        self._show_context()
        return node

    def _on_reset(self, request: Any, response: Any) -> None:
        with self._lock:
            if len(request.scene):
                seed, scene = -1, self._task.check_scene(np.array(request.scene))
            else:
                seed = request.seed if request.seed >= 0 else self._rig.draw_seed()
                scene = self._task.start_scene(seed)
            node = self._reset(scene, seed)
            response.epoch, response.node, response.seed = self._rig.tree.epoch, node.id, seed

    def _on_pause(self, request: Any, response: Any) -> None:
        with self._lock:
            response.step = self._rig.pause()
            self._show(self._rig.head)

    def _on_resume(self, request: Any, response: Any) -> None:
        with self._lock:
            self._rig.resume()
            self._show(self._rig.head)

    def _on_step(self, request: Any, response: Any) -> None:
        with self._lock:
            if self._rig.mode is not Mode.PAUSED:
                raise HiwmError(
                    'only a paused rig can be stepped by hand; pause it first', ErrorCode.NOT_PAUSED
                )
            if not 1 <= request.count <= MOST_STEPS:
                raise HiwmError(f'a count of steps is 1 to {MOST_STEPS}, not {request.count}')
            for _ in range(request.count):
                if self._compute(self._rig.begin_step()) is None:
                    raise HiwmError(self._rig.message, ErrorCode.MODEL_FAULT)
            response.node, response.step = self._rig.head.id, self._rig.head.step

    def _on_save_checkpoint(self, request: Any, response: Any) -> None:
        with self._lock:
            node = self._rig.save_checkpoint(request.name, request.node)
            self._tell(TreeEvent.KIND_CHECKPOINT, node, node.branch, name=request.name)
            response.node = node.id

    def _on_rollback(self, request: Any, response: Any) -> None:
        with self._lock:
            came_from = self._rig.head.id
            node = self._rig.rollback(
                node=request.node, checkpoint=request.checkpoint, steps=request.steps
            )
            self._tell(TreeEvent.KIND_ROLLBACK, node, self._rig.branch, from_node=came_from)
            self._show_context()
            response.epoch, response.node, response.step = self._rig.tree.epoch, node.id, node.step

    def _on_branch(self, request: Any, response: Any) -> None:
        with self._lock:
            came_from = self._rig.head.id
            branch = self._rig.fork(node=request.node, name=request.name, resample=request.resample)
            self._tell(TreeEvent.KIND_BRANCH, self._rig.head, branch.name, from_node=came_from)
            self._show_context()
            response.branch, response.node = branch.name, branch.fork
            response.epoch = self._rig.tree.epoch

    def _on_label(self, request: Any, response: Any) -> None:
        with self._lock:
            branch = self._rig.label(request.branch, request.label, request.note)
            head = self._rig.tree.node(branch.head)
            self._tell(
                TreeEvent.KIND_LABEL, head, branch.name, label=int(branch.label), note=branch.note
            )
            response.branch, response.node = branch.name, branch.head

    def _on_get_tree(self, request: Any, response: Any) -> None:
        with self._lock:
            tree = self._rig.tree
            first = int(request.after_node) + 1
            count = min(request.max_nodes or MOST_NODES, 100 * MOST_NODES)
            last = min(first + count, len(tree.nodes) + 1)
            response.nodes = [_node_message(tree.nodes[number]) for number in range(first, last)]
            response.branches = [_branch_message(branch) for branch in tree.branches.values()]
            response.head, response.epoch = tree.head, tree.epoch
            response.node_count = len(tree.nodes)
            response.checkpoint_names = list(tree.checkpoints)
            response.checkpoint_nodes = list(tree.checkpoints.values())


def _node_message(node: Node) -> TreeNode:
    return TreeNode(
        node=node.id,
        parent=node.parent,
        step=node.step,
        epoch=node.epoch,
        branch=node.branch,
        source=int(node.source),
        progress=float(node.progress),
        success=float(node.success),
    )


def _branch_message(branch: Branch) -> TreeBranch:
    return TreeBranch(
        name=branch.name,
        root=branch.root,
        fork=branch.fork,
        head=branch.head,
        label=int(branch.label),
        note=branch.note,
    )
