# SPDX-License-Identifier: Apache-2.0
"""Push-T: gym-pusht's physics, a scripted expert for it, and a reader of its picture."""

from __future__ import annotations

from hiwm_core.task import Task
from hiwm_robot.sims.pusht.expert import PushtExpert
from hiwm_robot.sims.pusht.pose_reader import PushtPoseReader
from hiwm_robot.sims.pusht.simulator import PushtSimulator


def make_simulator(task: Task) -> PushtSimulator:
    """The physics of Push-T."""
    return PushtSimulator(task)


def make_expert(task: Task, seed: int, skill: float) -> PushtExpert:
    """The scripted expert of Push-T."""
    return PushtExpert(task, seed, skill)


def make_pose_reader(task: Task) -> PushtPoseReader:
    """The reader of Push-T's frames."""
    return PushtPoseReader(task)
