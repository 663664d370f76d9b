# SPDX-License-Identifier: Apache-2.0
"""A practice as a session's bag, like that of a live session: messages, and what it holds in short.

Bags are written with ROS's message types; no graph is needed, and no clock runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
import math
from pathlib import Path
import shutil
from typing import Any

from hiwm_msgs.msg import MuxState, RigState, TreeEvent
import yaml

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import ConfigurationError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_core.tree_node import Label
from hiwm_policy.correction import Correction, Practice
from hiwm_rig.conversion import (
    action_message,
    camera_info_message,
    image_message,
    joint_message,
    time_message,
)
from hiwm_rig.message_bag import MessageBag

RUN = 'run-1'
OPERATOR, DEVICE = 'script', 'script'
UNFINISHED_NAME = '.unfinished'
# Stamps are made: sessions are equal whenever they are made.
FIRST_STAMP_NS = 1_000_000_000_000_000_000
PHASE_OF_RUN, PHASE_OF_BRANCH = MuxState.PHASE_AUTONOMOUS, MuxState.PHASE_CORRECTING
TOPICS = (
    *contract.RIG_TOPICS,
    contract.ACTION,
    contract.POLICY_ACTION,
    contract.OPERATOR_ACTION,
    contract.MUX_STATE,
)


@dataclass(frozen=True)
class Tally:
    """What a session holds, as its metadata says."""

    seed: int
    steps: int
    success: bool
    corrections: int
    corrected: int
    operator_steps: int


class SessionWriter:
    """Writes one practice as a session's messages.

    Args:
        rig: `RigState.rig`.
        policy: `Action.device` of the policy's actions.
    """

    def __init__(self, bag: MessageBag, task: Task, session: str, rig: str, policy: str) -> None:
        self._bag, self._task, self._session = bag, task, session
        self._rig, self._policy = rig, policy
        self._now = FIRST_STAMP_NS
        self._period_ns = round(task.period * 1e9)
        self._epoch = self._nodes = self._executed = self._driven = 0
        self._sequences = dict.fromkeys(TOPICS, 0)

    def write(self, practice: Practice) -> None:
        """The whole session."""
        attempt = practice.attempt
        self._epoch = 1
        self._tell(TreeEvent.KIND_RESET, node=1, branch=RUN, seed=attempt.seed)
        self._mux(PHASE_OF_RUN, Source.POLICY)
        sources = [Source.POLICY] * attempt.steps
        self._frame(attempt.observations[0], RUN, 0, 0, None)
        self._path(
            RUN,
            1,
            step=0,
            observations=attempt.observations[1:],
            actions=attempt.actions,
            sources=sources,
        )
        if attempt.done:
            self._label(RUN, self._nodes, Label.SUCCESS, 'done')
        elif practice.reason or attempt.steps == self._task.episode_steps:
            self._label(RUN, self._nodes, Label.FAILURE, practice.reason or 'not done in time')
        for number, correction in enumerate(practice.corrections, 1):
            self._branch(f'branch-{number}', correction, practice.reason)

    def _branch(self, name: str, correction: Correction, reason: str) -> None:
        fork = correction.fork + 1  # nodes of the run are numbered from 1
        before = self._nodes
        self._epoch += 1
        self._mux(MuxState.PHASE_PAUSED, Source.HOLD, reason)
        self._tell(TreeEvent.KIND_BRANCH, node=fork, branch=name, from_node=before)
        self._mux(PHASE_OF_BRANCH, Source.OPERATOR)
        self._path(
            name,
            fork,
            step=correction.fork,
            observations=correction.observations,
            actions=correction.actions,
            sources=correction.sources,
        )
        label = Label.SUCCESS if correction.success else Label.FAILURE
        self._mux(MuxState.PHASE_PAUSED, Source.HOLD)
        self._label(name, self._nodes, label, correction.outcome)

    def _path(
        self,
        branch: str,
        node: int,
        *,
        step: int,
        observations: Sequence[Observation],
        actions: Sequence[Any],
        sources: Sequence[Source],
    ) -> None:
        """Steps that lead on from a node, which is so many steps from its root."""
        for observation, values, source in zip(observations, actions, sources, strict=True):
            action = Action(
                values=values,
                source=source,
                epoch=self._epoch,
                step=step,
                device=self._policy if source is Source.POLICY else DEVICE,
            )
            proposed_on = (
                contract.POLICY_ACTION if source is Source.POLICY else contract.OPERATOR_ACTION
            )
            self._send(proposed_on, action)
            self._send(contract.ACTION, action)
            self._driven += source is not Source.POLICY
            step += 1
            self._now += self._period_ns
            self._frame(observation, branch, node, step, action)
            node = self._nodes

    def _frame(
        self, observation: Observation, branch: str, parent: int, step: int, action: Action | None
    ) -> None:
        """A new node: image, info, joints, the action that led to it, and the state last."""
        task, stamp = self._task, time_message(self._now)
        self._nodes += 1
        self._put(contract.IMAGE, image_message(observation.frame, stamp))
        self._put(contract.CAMERA_INFO, camera_info_message(task.camera, stamp))
        self._put(contract.JOINT_STATES, joint_message(task.joint_names, observation.joints, stamp))
        if action is not None:
            self._executed += 1
            self._put(contract.RIG_EXECUTED, action_message(task, action, stamp))
        state = RigState(
            session=self._session,
            task=task.name,
            rig=self._rig,
            epoch=self._epoch,
            node=self._nodes,
            parent=parent,
            branch=branch,
            step=step,
            mode=RigState.MODE_RUNNING,
            pace=RigState.PACE_LOCKSTEP,
            advance=RigState.ADVANCE_ALWAYS,
            speed=1.0,
            period=task.period,
            tick_time=math.nan,
            can_pause=True,
            can_rollback=True,
            can_branch=True,
            can_set_pace=True,
            progress=float(observation.progress),
            success=float(observation.success),
            fidelity=float(observation.fidelity),
            executed_actions=self._executed,
        )
        if observation.scene.size:
            state.scene_names = list(task.scene_names)
            state.scene_values = [float(value) for value in observation.scene]
        state.header.stamp = stamp
        self._put(contract.RIG_STATE, state)

    def _send(self, topic: contract.Topic, action: Action) -> None:
        numbered = Action(
            values=action.values,
            source=action.source,
            epoch=action.epoch,
            step=action.step,
            device=action.device,
            seq=self._sequences[topic],
        )
        self._sequences[topic] += 1
        self._put(topic, action_message(self._task, numbered, time_message(self._now)))

    def _mux(self, phase: int, source: Source, reason: str = '') -> None:
        drives = phase == PHASE_OF_BRANCH
        state = MuxState(
            phase=phase,
            source=int(source),
            operator_id=OPERATOR if drives else '',
            device=DEVICE if drives else self._policy,
            reason=reason,
            epoch=self._epoch,
            sent_actions=self._sequences[contract.ACTION],
            human_time=self._driven * self._task.period,
            policy_age=math.nan,
            operator_age=math.nan,
        )
        state.header.stamp = time_message(self._now)
        self._put(contract.MUX_STATE, state)

    def _label(self, branch: str, node: int, label: Label, note: str) -> None:
        self._tell(TreeEvent.KIND_LABEL, node=node, branch=branch, label=int(label), note=note)

    def _tell(self, kind: int, **fields: Any) -> None:
        self._now += 1
        event = TreeEvent(**{'kind': kind, 'epoch': self._epoch, 'seed': -1, **fields})
        event.header.stamp = time_message(self._now)
        self._put(contract.RIG_TREE, event)

    def _put(self, topic: contract.Topic, message: Any) -> None:
        self._bag.put(topic, message, self._now)


def session_folder(out: Path, seed: int) -> Path:
    """Where the session of a start lies."""
    return out / f'session_{seed:08d}'


def write_session(out: Path, task: Task, rig: str, policy: str, practice: Practice) -> Tally:
    """Write one session's bag, whole or not at all. Raises HiwmError."""
    attempt = practice.attempt
    tally = Tally(
        seed=attempt.seed,
        steps=attempt.steps + practice.operator_steps(),
        success=attempt.done,
        corrections=len(practice.corrections),
        corrected=sum(each.success for each in practice.corrections),
        operator_steps=practice.operator_steps(),
    )
    folder = session_folder(out, attempt.seed)
    unfinished = out / UNFINISHED_NAME / folder.name
    shutil.rmtree(unfinished, ignore_errors=True)
    custom_data = {
        'kind': 'session',
        'task': task.name,
        'session': folder.name,
        'rig': rig,
        'tally': json.dumps(tally.__dict__),
    }
    with MessageBag(unfinished, TOPICS, custom_data) as bag:
        SessionWriter(bag, task, folder.name, rig, policy).write(practice)
    unfinished.rename(folder)
    return tally


def read_tally(folder: Path) -> Tally | None:
    """What an earlier run has put there; None if it is not there."""
    path = folder / 'metadata.yaml'
    if not path.is_file():
        return None
    try:
        information = yaml.safe_load(path.read_text())['rosbag2_bagfile_information']
        return Tally(**json.loads(information['custom_data']['tally']))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f'{folder} was not made by this command ({error!r}); name another folder'
        ) from error
