# SPDX-License-Identifier: Apache-2.0
"""Task simulators, scripted experts and pose readers, found by the task's `simulator` entry.

A simulator is a module `hiwm_robot.sims.<name>` with three functions:

- `make_simulator(task) -> Backend`: the physics of the task as a backend named 'sim_arm';
- `make_expert(task, seed, skill) -> Expert`: what solves the task from the simulator's scene;
- `make_pose_reader(task) -> PoseReader`: what reads the scene from the simulator's picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, eq=False)
class Sighting:
    """The bodies that are seen in one frame.

    Attributes:
        scene: float64 (S,), the task's scene variables in their units; NaN for what is not seen.
        components: For each body by name, in how many pieces that hang together it is seen; what
            another body hides in its middle does not part it.
        area: For each body by name, the pixels in which it is seen.
    """

    scene: NDArray[np.float64]
    components: Mapping[str, int]
    area: Mapping[str, int]


class PoseReader(Protocol):
    """What reads poses from the colours of single frames: no network, no memory."""

    def read(self, frame: NDArray[np.uint8]) -> Sighting:
        """What a frame uint8 (H, W, 3) shows. Raises HiwmError if its size or type is wrong."""
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


def load_pose_reader(task: Task) -> PoseReader:
    """What reads the task's scene from a frame. Raises ConfigurationError if the task has none."""
    module = _module(task)
    if not hasattr(module, 'make_pose_reader'):
        raise ConfigurationError(
            f"the simulator '{task.simulator}' of task '{task.name}' has no pose reader; "
            f'add make_pose_reader to {module.__name__}'
        )
    reader: PoseReader = module.make_pose_reader(task)
    return reader


def sim_arm(task: Task, model: Path | None = None, device: str = 'auto') -> Backend:
    """The entry point `sim_arm` of `hiwm.backends`. Raises ConfigurationError."""
    if model is not None:
        raise ConfigurationError(f'sim_arm is physics and has no weights; leave {model} out')
    if device == 'cuda':
        raise ConfigurationError("sim_arm runs on the CPU; use the device 'cpu' or 'auto'")
    return load_simulator(task)


def _module(task: Task) -> ModuleType:
    if not task.simulator:
        raise ConfigurationError(
            f"task '{task.name}' has no simulator; write one and name it in the task's file"
        )
    name = f'{__name__}.{task.simulator}'
    if not task.simulator.isidentifier() or find_spec(name) is None:
        raise ConfigurationError(
            f"task '{task.name}' asks for the simulator '{task.simulator}', "
            f'which is not installed; add {name.replace(".", "/")}'
        )
    return import_module(name)
