# SPDX-License-Identifier: Apache-2.0
"""What drives in an episode: the expert, a policy, or an expert made bad on purpose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.policy import Policy
from hiwm_core.task import Task
from hiwm_robot.play import PlayDriver
from hiwm_robot.sims import Expert

FloatArray = NDArray[np.float64]


class ExpertDriver:
    """The scripted expert as an operator."""

    source = Source.OPERATOR
    device = 'expert'

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def action(self, history: list[Observation]) -> FloatArray:
        return self._expert.action(history[-1])


class PolicyDriver:
    """A policy in closed loop: of each chunk, `chunk_steps` actions are carried out.

    Args:
        seed: Of the keys of its chunks.
    """

    source = Source.POLICY

    def __init__(self, policy: Policy, seed: int) -> None:
        self.device = policy.name
        self._policy = policy
        self._keys = np.random.default_rng(seed)
        self._waiting: list[FloatArray] = []

    def action(self, history: list[Observation]) -> FloatArray:
        if not self._waiting:
            chunk = self._policy.chunk(
                history[-self._policy.context :], int(self._keys.integers(2**63))
            )
            self._waiting = list(chunk[: self._policy.chunk_steps])
        return self._waiting.pop(0)


# How bad: the largest of each, drawn anew for every episode.
NOISY_SKILL = 0.15
NOISE_SHARE = 0.1  # of a step's largest change, standard deviation
NOISE_MEMORY = 0.8  # how much of the noise stays from step to step
LONGEST_LAG = 2  # steps
WRONG_MOVE_RATE = 0.03  # probability per step that a wrong move begins
WRONG_MOVE_STEPS = (5, 25)


class NoisyExpertDriver:
    """A policy that fails: the expert with correlated noise, lag, and wrong moves now and then.

    Args:
        task: For limits and bodies.
        expert: What it spoils.
        seed: Of everything that it spoils it with.
    """

    source = Source.POLICY
    device = 'noisy_expert'

    def __init__(self, task: Task, expert: Expert, seed: int) -> None:
        self._expert = expert
        self._generator = np.random.default_rng([seed, 1])
        self._wrong = PlayDriver(task, seed)
        self._max_step = task.action_max_step
        self._sigma = NOISE_SHARE * self._generator.random() ** 2 * self._max_step
        self._lag = int(self._generator.integers(LONGEST_LAG + 1))
        self._rate = self._generator.uniform(0.0, WRONG_MOVE_RATE)
        self._noise = np.zeros(len(task.actions))
        self._late: list[FloatArray] = []
        self._wrong_steps = 0

    def action(self, history: list[Observation]) -> FloatArray:
        fresh = self._generator.normal(0.0, self._sigma) * np.sqrt(1.0 - NOISE_MEMORY**2)
        self._noise = NOISE_MEMORY * self._noise + fresh
        if self._wrong_steps == 0 and self._generator.random() < self._rate:
            self._wrong_steps = int(self._generator.integers(*WRONG_MOVE_STEPS))
            self._wrong.restart()
        if self._wrong_steps > 0:
            self._wrong_steps -= 1
            return self._wrong.action(history)
        self._late.append(self._expert.action(history[-1]))
        self._late = self._late[-1 - self._lag :]
        return self._late[0] + self._noise
