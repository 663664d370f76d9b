# SPDX-License-Identifier: Apache-2.0
"""An episode as a bag: the messages that a rig would have published, without a graph.

Stamps begin at one second and advance by the task's period, so the same episode gives the same
messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from hiwm_msgs.msg import RigState, TreeEvent
import numpy as np
from numpy.typing import NDArray

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_rig.conversion import (
    action_message,
    camera_info_message,
    image_message,
    joint_message,
    time_message,
)
from hiwm_rig.message_bag import MessageBag
from hiwm_robot.collection import Job, Outcome, drive, unfinished

FIRST_STAMP_NS = 1_000_000_000
BRANCH = 'run'
EPOCH = 1


def make_episode(job: Job) -> Outcome:
    """Run one episode and write its bag. Raises HiwmError if it cannot be written."""
    task, rig, trajectory = drive(job)
    steps = len(trajectory.actions)
    custom_data = {
        'kind': job.settings.kind,
        'seed': str(job.seed),
        'task': task.name,
        'session': job.folder.name,
        'success': 'true' if trajectory.success else 'false',
        'steps': str(steps),
    }
    with unfinished(job) as folder, MessageBag(folder, contract.RIG_TOPICS, custom_data) as bag:
        write_episode(
            bag,
            task,
            observations=trajectory.observations,
            actions=trajectory.actions,
            sources=[trajectory.source] * steps,
            device=trajectory.device,
            rig=rig,
            session=job.folder.name,
            seed=job.seed,
        )
    return Outcome(job.seed, trajectory.success, steps)


def write_episode(
    bag: MessageBag,
    task: Task,
    *,
    observations: Sequence[Observation],
    actions: Sequence[NDArray[np.float64]],
    sources: Sequence[Source],
    device: str,
    rig: str,
    session: str,
    seed: int,
) -> None:
    """Write the reset, then for each frame image, info, joints, action and state.

    Args:
        observations: T + 1.
        actions: T, each (A,), executed between them.
        sources: T, who chose them.
        device: What they came from.
        seed: Of the start; -1 where there is none.
    """
    period_ns = round(task.period * 1e9)

    for step, observation in enumerate(observations):
        now = FIRST_STAMP_NS + step * period_ns
        stamp = time_message(now)
        if step == 0:
            event = TreeEvent(kind=TreeEvent.KIND_RESET, epoch=EPOCH, node=1, branch=BRANCH)
            event.header.stamp = stamp
            event.seed = seed
            bag.put(contract.RIG_TREE, event, now)
        bag.put(contract.IMAGE, image_message(observation.frame, stamp), now)
        bag.put(contract.CAMERA_INFO, camera_info_message(task.camera, stamp), now)
        joints = joint_message(task.joint_names, observation.joints, stamp)
        bag.put(contract.JOINT_STATES, joints, now)
        if step > 0:
            executed = Action(
                values=actions[step - 1],
                source=Source(sources[step - 1]),
                epoch=EPOCH,
                step=step - 1,
                device=device,
                seq=step - 1,
            )
            bag.put(contract.RIG_EXECUTED, action_message(task, executed, stamp), now)
        state = RigState(
            session=session,
            task=task.name,
            rig=rig,
            epoch=EPOCH,
            node=step + 1,
            parent=step,
            branch=BRANCH,
            step=step,
            mode=RigState.MODE_RUNNING,
            pace=RigState.PACE_LOCKSTEP,
            period=task.period,
            progress=float(observation.progress),
            success=float(observation.success),
            fidelity=float(observation.fidelity),
            scene_names=list(task.scene_names) if observation.scene.size else [],
            scene_values=[float(value) for value in observation.scene],
            executed_actions=step,
        )
        state.header.stamp = stamp
        bag.put(contract.RIG_STATE, state, now)
