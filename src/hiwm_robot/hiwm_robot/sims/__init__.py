# SPDX-License-Identifier: Apache-2.0
"""Task simulators and scripted experts, found by the task's `simulator` entry.

A simulator is a module `hiwm_robot.sims.<name>` with two functions:

- `make_simulator(task) -> Backend`: the physics of the task as a backend named 'sim_arm';
- `make_expert(task, seed, skill) -> Expert`: what solves the task from the simulator's scene.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.backend import Backend
from hiwm_core.error import ConfigurationError
from hiwm_core.observation import Observation
from hiwm_core.task import Task


class Expert(Protocol):
    """What drives a task well because it knows the scene; it may remember a plan between steps."""

    def action(self, observation: Observation) -> NDArray[np.float64]:
        """The action (A,) for the newest observation, within the task's limits.

        It looks at `scene`, and at `state` where the simulator gives one. An observation that its
        plan did not foresee (somebody else drove, the scene was reset) makes it plan anew.
        """
        ...


def load_simulator(task: Task) -> Backend:
    """The task's simulator, ready to reset. Raises ConfigurationError if the task has none."""
    backend: Backend = _module(task).make_simulator(task)
    return backend


def load_expert(task: Task, seed: int, skill: float = 1.0) -> Expert:
    """The task's scripted expert.

    Args:
        seed: Of whatever it draws; equal seeds and observations give equal actions.
        skill: 1 plans with care; less, down to 0.1, tries fewer plans and is later to notice that
            one has gone wrong.

    Raises:
        ConfigurationError: The task has none.
    """
    expert: Expert = _module(task).make_expert(task, seed, skill)
    return expert


def sim_arm(task: Task, model: Path | None = None) -> Backend:
    """The entry point `sim_arm` of `hiwm.backends`. Raises ConfigurationError."""
    if model is not None:
        raise ConfigurationError(f'sim_arm is physics and has no weights; leave {model} out')
    return load_simulator(task)


def _module(task: Task) -> ModuleType:
    name = f'{__name__}.{task.simulator}'
    if not task.simulator.isidentifier() or find_spec(name) is None:
        raise ConfigurationError(
            f"task '{task.name}' asks for the simulator '{task.simulator}', "
            f'which is not installed; add {name.replace(".", "/")}'
        )
    return import_module(name)
