# SPDX-License-Identifier: Apache-2.0
"""Running one episode in-process, as fast as the simulator goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source, clip_values
from hiwm_core.backend import Backend, first_observation, next_observation
from hiwm_core.observation import Observation
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]


class Driver(Protocol):
    """What chooses the actions of an episode.

    Attributes:
        source: What its actions are recorded as.
        device: The name of what they come from.
    """

    source: Source
    device: str

    def action(self, history: list[Observation]) -> FloatArray:
        """The action (A,) that answers `history[-1]`; the history begins with the start."""
        ...


@dataclass(frozen=True, eq=False)
class Trajectory:
    """An episode: T + 1 observations and the T actions (A,) between them, as executed."""

    observations: list[Observation]
    actions: list[FloatArray]
    source: Source
    device: str

    @property
    def success(self) -> bool:
        """Whether the task is done in the last frame."""
        return self.observations[-1].success > 0.5


def run_episode(
    task: Task,
    backend: Backend,
    driver: Driver,
    seed: int,
    steps: int,
    *,
    until_success: bool,
) -> Trajectory:
    """One episode from the start that belongs to the seed.

    Args:
        steps: It ends after so many, or
        until_success: with this, as soon as the task is done.
    """
    observations = [first_observation(backend, task.start_scene(seed), seed)]
    actions: list[FloatArray] = []
    while len(actions) < steps and not (until_success and observations[-1].success > 0.5):
        action = clip_values(task, driver.action(observations))
        observations.append(
            next_observation(backend, observations[-1], action, seed + len(actions))
        )
        actions.append(action)
    return Trajectory(observations, actions, driver.source, driver.device)
