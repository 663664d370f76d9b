# SPDX-License-Identifier: Apache-2.0
"""The scripted expert of Push-T: plans a push, carries it out, plans the next."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_robot.sims.pusht.planner import Plan, Planner
from hiwm_robot.sims.pusht.simulator import (
    STATE_SIZE,
    UNITS_PER_METRE,
    scene_of_state,
    state_of_scene,
)

FloatArray = NDArray[np.float64]

# How far the scene may be from what the plan foresaw before it is dropped: metres and radians.
POSITION_TOLERANCE = 0.004
ANGLE_TOLERANCE = 0.05
MOST_REFINEMENTS = 60


class PushtExpert:
    """Solves Push-T from its scene. Reproducible: equal seeds and observations give equal actions.

    Args:
        task: Push-T's task, for the limits.
        seed: Of the moves that free a pusher for which no push can be reached.
        skill: Scales how many plans are tried, and inversely what goes unnoticed.
    """

    def __init__(self, task: Task, seed: int, skill: float = 1.0) -> None:
        self._task = task
        self._skill = skill
        self._planner = Planner(round(MOST_REFINEMENTS * skill))
        self._generator = np.random.default_rng(seed)
        self._plan: Plan | None = None
        self._done = 0

    def action(self, observation: Observation) -> FloatArray:
        """The command (2,), metres."""
        if not self._on_course(observation):
            self._plan = self._planner.plan(_state(observation))
            self._done = 0
        if self._plan is None:
            start = self._task.start_scene(int(self._generator.integers(2**31)))
            return self._limited(start[0:2])
        command = self._plan.commands[self._done] / UNITS_PER_METRE
        self._done += 1
        return self._limited(command)

    def _on_course(self, observation: Observation) -> bool:
        plan = self._plan
        if plan is None or self._done >= len(plan.commands):
            return False
        if self._done == 0:
            return True
        foreseen = scene_of_state(plan.states[self._done - 1])
        away = observation.scene - foreseen
        return bool(
            (np.abs(away[:4]) * self._skill < POSITION_TOLERANCE).all()
            and abs(math.remainder(away[4], math.tau)) * self._skill < ANGLE_TOLERANCE
        )

    def _limited(self, command: FloatArray) -> FloatArray:
        return np.clip(command, self._task.action_low, self._task.action_high)


def _state(observation: Observation) -> FloatArray:
    if observation.state.shape == (STATE_SIZE,):
        return observation.state
    return state_of_scene(observation.scene)
