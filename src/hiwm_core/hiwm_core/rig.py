# SPDX-License-Identifier: Apache-2.0
"""A rig around a backend: epochs, modes, the rollout tree, and which action is executed when.

Everything here is pure bookkeeping and never waits. A step is made in two halves, so that a slow
backend can compute elsewhere while the rig goes on answering: `begin_step` says what to compute,
`finish_step` takes the result, or drops it if the scene was moved in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hiwm_core.action import Action, Source, clip_values
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.observation import Observation, checked_observation
from hiwm_core.rollout_tree import Branch, Label, Node, RolloutTree
from hiwm_core.task import FloatArray, Task

LARGEST_SEED = 2**31 - 1
NOT_RESET = 'the rig has not been reset yet; reset it first'


class Mode(IntEnum):
    """The constants MODE_* of `hiwm_msgs/msg/RigState`."""

    PAUSED = 1
    RUNNING = 2
    FAULT = 3


class Pace(IntEnum):
    """The constants PACE_* of `hiwm_msgs/msg/RigState`."""

    REALTIME = 1
    LOCKSTEP = 2


@dataclass(frozen=True, eq=False)
class StepRequest:
    """What a backend is to compute: the observation after `observation`, with `action` executed.

    `epoch` and `node` say where the rig stood.
    """

    epoch: int
    node: int
    observation: Observation
    action: Action
    key: int


class Rig:
    """The state of one rig.

    Args:
        task: What is commanded and measured.
        tree: The session's tree; a head in it is where the rig stands.

    Raises:
        HiwmError: The tree's head is not an observation of this task.
    """

    def __init__(self, task: Task, tree: RolloutTree) -> None:
        if tree.head:
            try:
                checked_observation(task, tree.observation(tree.head))
            except HiwmError as error:
                raise ConfigurationError(
                    f"the session's tree is not one of task '{task.name}' ({error.message}); "
                    'choose another folder or the task that it was made with'
                ) from error
        self.task = task
        self.tree = tree
        self.mode = Mode.PAUSED
        self.message = ''
        self.branch = tree.head_branch
        self.executed_actions = 0
        self.dropped_actions = 0
        self.rejected_actions = 0
        self.missed_deadlines = 0
        self._waiting: Action | None = None

    @property
    def head(self) -> Node:
        """Where the rig stands. Raises HiwmError (NOT_READY) before the first reset."""
        if not self.tree.head:
            raise HiwmError(NOT_RESET, ErrorCode.NOT_READY)
        return self.tree.nodes[self.tree.head]

    @property
    def observation(self) -> Observation:
        """What is seen at the head."""
        return self.tree.observation(self.head.id)

    # -- actions ---------------------------------------------------------------------------------

    def receive(self, action: Action) -> bool:
        """Take an action in; returns whether it answers the step at which the rig stands.

        An action that answers another epoch, or a step that has not been shown, is dropped and
        counted. One that comes late never takes the place of one for a newer step.
        """
        if not self.tree.head or action.epoch != self.tree.epoch or action.step > self.head.step:
            self.dropped_actions += 1
            return False
        if self._waiting is None or action.step >= self._waiting.step:
            self._waiting = action
        return self.answered

    @property
    def answered(self) -> bool:
        """Whether an action has come for the very step at which the rig stands."""
        return self._waiting is not None and self._waiting.step == self.head.step

    @property
    def waiting(self) -> Action | None:
        """The newest action that came; None: none has since the rig last began to run."""
        return self._waiting

    def reject(self) -> None:
        """Count an action that could not be read."""
        self.rejected_actions += 1

    def _take_action(self) -> Action:
        """The newest action, for the step that it answers and one more; then hold."""
        head = self.head
        waiting = self._waiting
        if waiting is None or waiting.step < head.step - 1:
            values = self.task.hold_action(self.observation.joints)
            return Action(self._gripping(values), Source.HOLD, self.tree.epoch, head.step)
        values = clip_values(self.task, waiting.values)
        return Action(
            self._gripping(values) if waiting.source is Source.HOLD else values,
            waiting.source,
            waiting.epoch,
            waiting.step,
            waiting.device,
            waiting.seq,
            waiting.deadman,
        )

    def _gripping(self, values: FloatArray) -> FloatArray:
        """A hold (A,) in which what grips keeps what led to the head."""
        grips = [action.grips for action in self.task.actions]
        if not any(grips) or not self.head.parent:
            return values
        return np.where(grips, self.tree.action(self.head.id), values)

    # -- time ------------------------------------------------------------------------------------

    def pause(self) -> int:
        """Time stands still; returns the step."""
        step = self.head.step
        if self.mode is Mode.RUNNING:
            self.mode = Mode.PAUSED
        return step

    def resume(self) -> None:
        """Time runs again, and only an action that comes from now on is executed.

        A rig that runs already just runs on.

        Raises:
            HiwmError: There was a fault, which only a reset, a rollback or a branch mends.
        """
        self.head  # noqa: B018  raises before the first reset
        if self.mode is Mode.FAULT:
            raise self.standstill
        if self.mode is not Mode.RUNNING:
            self.mode = Mode.RUNNING
            self._waiting = None

    @property
    def standstill(self) -> HiwmError:
        """Why nothing moves after a fault."""
        return HiwmError(
            f'the rig stands still after a fault ({self.message}); reset it or roll back first',
            ErrorCode.MODEL_FAULT,
        )

    def begin_step(self) -> StepRequest:
        """What to compute next."""
        head = self.head
        return StepRequest(
            epoch=self.tree.epoch,
            node=head.id,
            observation=self.tree.observation(head.id),
            action=self._take_action(),
            key=self.tree.step_key(head.id, self.branch),
        )

    def finish_step(self, request: StepRequest, observation: Observation) -> Node | None:
        """Take a result in; None if the scene was moved since, so that it belongs nowhere.

        A step from a node that its branch has left behind already makes a new branch: the old
        future stays as it is.

        Raises:
            HiwmError: MODEL_FAULT: the observation is not one of the task. STORAGE_FAULT.
        """
        if request.epoch != self.tree.epoch or request.node != self.tree.head:
            return None
        observation = checked_observation(self.task, observation)
        if self.tree.branch(self.branch).head != request.node:
            name = self.tree.free_branch_name('branch')
            self.branch = self.tree.add_branch(name, request.node).name
        node = self.tree.add_child(
            observation, request.action.values, request.action.source, self.branch
        )
        self.executed_actions += 1
        return node

    def fail(self, sentence: str) -> None:
        """The backend failed: stand still and say so."""
        self.mode = Mode.FAULT
        self.message = sentence

    # -- discontinuities -------------------------------------------------------------------------

    def draw_seed(self) -> int:
        """A start that was not drawn before in this session, the same in a repeated session."""
        mixed = np.random.default_rng(
            [abs(self.tree.seed), len(self.tree.branches), self.tree.epoch]
        )
        return int(mixed.integers(LARGEST_SEED))

    def reset(self, observation: Observation, key: int) -> Node:
        """Begin anew from an observed start; `key` is `tree.root_key` of its scene."""
        observation = checked_observation(self.task, observation)
        node = self.tree.add_root(observation, self.tree.free_branch_name('run'), key)
        self._moved()
        return node

    def rollback(self, *, node: int = 0, checkpoint: str = '', steps: int = 0) -> Node:
        """Move the head to exactly one of: a node, a checkpoint, so many steps back."""
        if (node != 0) + (checkpoint != '') + (steps != 0) != 1:
            raise HiwmError(
                'a rollback needs exactly one of a node, a checkpoint, or a number of steps'
            )
        if checkpoint:
            target = self.tree.checkpoint(checkpoint)
        elif node:
            target = self.tree.node(node)
        else:
            path = self.tree.history(self.head.id, steps + 1)
            if len(path) < steps + 1:
                raise HiwmError(
                    f'a rollback of {steps} steps is too far: the head is {len(path) - 1} steps '
                    'from its start; ask for no more than that'
                )
            target = path[0]
        self.tree.move_head(target.id)
        self._moved()
        return target

    def fork(self, *, node: int = 0, name: str = '', resample: bool = False) -> Branch:
        """Begin another continuation at a node (0: the head)."""
        at = self.tree.node(node) if node else self.head
        name = name or self.tree.free_branch_name('branch')
        salt = len(self.tree.branches) if resample else None
        branch = self.tree.add_branch(name, at.id, salt=salt)
        self.tree.move_head(at.id, branch.name)
        self._moved()
        return branch

    def save_checkpoint(self, name: str, node: int = 0) -> Node:
        """Give a node (0: the head) a name."""
        return self.tree.add_checkpoint(name, node or self.head.id)

    def label(self, branch: str, label: int, note: str) -> Branch:
        """Judge a branch (empty: the one of the head)."""
        if label not in set(Label):
            raise HiwmError(
                f'a label is 0 (none), 1 (success), 2 (failure) or 3 (discard), not {label}'
            )
        self.head  # noqa: B018  raises before the first reset
        return self.tree.label(branch or self.branch, Label(label), note)

    def context_nodes(self, length: int) -> list[Node]:
        """The nodes to show again after a discontinuity, oldest first, the head last."""
        return self.tree.history(self.head.id, length)

    def _moved(self) -> None:
        self.branch = self.tree.head_branch
        self.mode = Mode.PAUSED
        self.message = ''
        self._waiting = None
