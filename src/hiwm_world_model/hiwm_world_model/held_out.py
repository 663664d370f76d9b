# SPDX-License-Identifier: Apache-2.0
"""Episodes that no model was trained on: made in the physics, or read from recorded bags.

Made ones start from the task's starts of seeds that begin at FIRST_SEED, far above those that data
is collected with. They do not end with success: the expert and the policy go on driving, so that
every episode has all its steps and is of one kind throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.backend import Backend
from hiwm_core.episodes import read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_robot.collection import Settings, make_driver
from hiwm_robot.trajectory import run_episode
from hiwm_world_model.dataset import is_physics

KINDS = ('demo', 'policy', 'play', 'edge')
FIRST_SEED = 2_000_000_000
# Seeds set aside for each `--seed`, and within them for each kind.
SEEDS_PER_RUN, SEEDS_PER_KIND = 1_000_000, 100_000


@dataclass(frozen=True, eq=False)
class Course:
    """What really happened: T steps of one episode.

    Attributes:
        kind: One of KINDS, or what a recording calls it.
        driver: Who drove.
        frames: uint8 (T+1, H, W, 3).
        scene: float64 (T+1, S).
        progress: float64 (T+1,).
        actions: float64 (T, A), as executed.
    """

    kind: str
    driver: str
    frames: NDArray[np.uint8]
    scene: NDArray[np.float64]
    progress: NDArray[np.float64]
    actions: NDArray[np.float64]


def held_out_seed(seed: int, kind: str, number: int = 0) -> int:
    """The seed of an episode, of its start and of its driver."""
    block = KINDS.index(kind) if kind in KINDS else len(KINDS)
    return FIRST_SEED + seed * SEEDS_PER_RUN + block * SEEDS_PER_KIND + number


def within_limits(task: Task, scene: NDArray[np.float64]) -> NDArray[np.float64]:
    """A scene (S,) that can be started from; a hard push can force a body out of its range."""
    low = [-np.inf if variable.wraps else variable.low for variable in task.scene]
    high = [np.inf if variable.wraps else variable.high for variable in task.scene]
    return np.clip(scene, low, high)


def make_courses(
    task: Task,
    physics: Backend,
    kind: str,
    *,
    seed: int,
    episodes: int,
    steps: int,
    policy: Path | None,
) -> list[Course]:
    """Episodes in the physics.

    Args:
        policy: Who drives in the kind `policy`; None: the expert made bad on purpose.

    Raises:
        HiwmError: The task has no expert, or the policy cannot be used.
    """
    folder = str(policy) if policy is not None and kind == 'policy' else ''
    settings = Settings(task.name, kind, steps, folder)
    courses = []
    for number in tqdm(range(episodes), desc=f'{kind}: physics', unit='episode'):
        own = held_out_seed(seed, kind, number)
        trajectory = run_episode(
            task, physics, make_driver(settings, own), own, steps, until_success=False
        )
        seen = trajectory.observations
        courses.append(
            Course(
                kind=kind,
                driver=trajectory.device,
                frames=np.stack([observation.frame for observation in seen]),
                scene=np.stack([observation.scene for observation in seen]),
                progress=np.array([observation.progress for observation in seen]),
                actions=np.stack(trajectory.actions),
            )
        )
    return courses


def read_courses(
    task: Task, data: Path, *, seed: int, episodes: int, steps: int
) -> dict[str, list[Course]]:
    """At most so many recorded episodes of each kind, drawn with the seed.

    Args:
        steps: Longer episodes are cut.

    Raises:
        HiwmError: There is no bag, or none with a scene.
    """
    generator = np.random.default_rng(seed)
    kept: dict[str, list[Course]] = {}
    met: dict[str, int] = {}
    for episode in read_episodes(data, task):
        if not is_physics(task, episode):
            continue
        count = min(len(episode.actions), steps)
        course = Course(
            kind=episode.kind,
            driver='recorded',
            frames=episode.frames[: count + 1],
            scene=episode.scene[: count + 1],
            progress=episode.progress[: count + 1],
            actions=episode.actions[:count],
        )
        courses = kept.setdefault(episode.kind, [])
        met[episode.kind] = met.get(episode.kind, 0) + 1
        if len(courses) < episodes:
            courses.append(course)
        elif (slot := int(generator.integers(met[episode.kind]))) < episodes:
            courses[slot] = course
    if not kept:
        raise ConfigurationError(
            f"no episode of task '{task.name}' below {data} has a scene of physics"
        )
    return {kind: kept[kind] for kind in sorted(kept)}
