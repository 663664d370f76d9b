# SPDX-License-Identifier: Apache-2.0
"""Does a commanded body move where it is told? Asked everywhere, the workspace's edges included.

From PLACES x PLACES places on a grid over its commands' limits, the outermost on the limits
themselves, a commanded body is told to go half of the largest step in each of DIRECTIONS directions
and has STEPS steps for it. The command is clipped to the limits, as a rig does. What "in the
commanded direction" means at a wall is then what the physics does with the same command from the
same start:

- where the body moves in the physics by MOVED pixels or more, it follows if in the predicted frames
  it moves at least half as far, and in the same direction to within half the angle between two
  directions;
- where it does not (it is told to leave the workspace), it follows if in the predicted frames it
  moves by less than MOVED pixels.

Where it is in the predicted frames is read from their pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.action import clip_values
from hiwm_core.backend import Backend
from hiwm_core.task import Task
from hiwm_robot.play import extent
from hiwm_robot.sims import PoseReader
from hiwm_world_model.features import BodyColumns, read_bodies
from hiwm_world_model.held_out import held_out_seed
from hiwm_world_model.rollout import key_of

FloatArray = NDArray[np.float64]

PLACES = 5
DIRECTIONS = 16
STEPS = 2
MOVED = 1.0
STEP_SHARE = 0.5
# Of so many starts the one is taken in which the other bodies are farthest from the place.
STARTS = 32


@dataclass(frozen=True, eq=False)
class _Trial:
    """One body at one place, told to go in DIRECTIONS directions.

    Attributes:
        scene: float64 (S,), the start.
        actions: float64 (DIRECTIONS, A), within the limits.
        columns: Where the scene has the body's first two coordinates.
        seed: Of the keys.
    """

    scene: FloatArray
    actions: FloatArray
    columns: list[int]
    seed: int

    def real_motion(self, physics: Backend) -> FloatArray:
        """How far (DIRECTIONS, 2) the body moves in the physics, metres."""
        _, after = self._states(physics)
        return physics.heads(after).scene[:, self.columns] - self.scene[self.columns]

    def seen_motion(self, backend: Backend, reader: PoseReader) -> FloatArray:
        """How far (DIRECTIONS, 2) it moves in a backend's frames, metres; NaN where unseen."""
        places = [
            np.array([reader.read(frame).scene[self.columns] for frame in backend.decode(states)])
            for states in self._states(backend)
        ]
        return places[1] - places[0]

    def _states(self, backend: Backend) -> tuple[FloatArray, FloatArray]:
        """The start (1, Z), and what follows (DIRECTIONS, Z)."""
        start = backend.start(self.scene, key_of(self.seed, 0, STEPS))
        states = np.repeat(start, DIRECTIONS, axis=0)
        for step in range(STEPS):
            keys = [key_of(self.seed, number, step) for number in range(DIRECTIONS)]
            states = backend.step(states, self.actions, keys)
        return start, states


@dataclass(frozen=True)
class Following:
    """Shares of the attempts in which the body followed; NaN without attempts."""

    everywhere: float
    at_edges: float
    inside: float
    attempts: int


def measure_following(
    task: Task, backend: Backend, physics: Backend, reader: PoseReader, seed: int
) -> Following:
    """Tell every commanded body that has a place to go everywhere. Raises HiwmError."""
    starts = np.array(
        [task.start_scene(held_out_seed(seed, 'following', number)) for number in range(STARTS)]
    )
    followed: list[bool] = []
    edges: list[bool] = []
    places = [
        (body, row, column)
        for body in read_bodies(task)
        if body.planar and body.command
        for row in range(PLACES)
        for column in range(PLACES)
    ]
    for body, row, column in tqdm(places, desc='following', unit='place'):
        columns = list(body.command[:2])
        low, high = task.action_low[columns], task.action_high[columns]
        place = low + np.array([column, row]) / (PLACES - 1) * (high - low)
        scene = _clearest(task, starts, body, place)
        hold = task.hold_action(task.joints_of_scene(scene))
        reach = STEP_SHARE * float(task.action_max_step[columns].min())
        actions = np.tile(hold, (DIRECTIONS, 1))
        for number in range(DIRECTIONS):
            angle = number * math.tau / DIRECTIONS
            actions[number, columns] = place + reach * np.array([math.cos(angle), math.sin(angle)])
        trial = _Trial(scene, clip_values(task, actions), list(body.position[:2]), seed)
        scale = task.camera.metres_per_pixel
        followed += [
            follows(real / scale, seen / scale)
            for real, seen in zip(
                trial.real_motion(physics), trial.seen_motion(backend, reader), strict=True
            )
        ]
        edges += [not 0 < row < PLACES - 1 or not 0 < column < PLACES - 1] * DIRECTIONS
    won, outer = np.array(followed, dtype=float), np.array(edges, dtype=bool)
    return Following(_mean(won), _mean(won[outer]), _mean(won[~outer]), len(won))


def follows(real: FloatArray, seen: FloatArray) -> bool:
    """Whether a motion (2,) that is seen is the real one, both in pixels; NaN is not."""
    if not np.isfinite(seen).all():
        return False
    far, distance = float(np.linalg.norm(real)), float(np.linalg.norm(seen))
    if far < MOVED:
        return distance < MOVED
    if distance < 0.5 * far:
        return False
    return bool(real @ seen >= math.cos(math.pi / DIRECTIONS) * far * distance)


def _clearest(task: Task, starts: FloatArray, body: BodyColumns, place: FloatArray) -> FloatArray:
    """The start (S,) whose other bodies are farthest from a place (2,), and the body put there."""
    gaps = []
    for start in starts:
        others = [extent(task, other, start) for other in task.bodies if other.name != body.name]
        gaps.append(
            min(
                (
                    float(np.linalg.norm(other.centre[:2] - place)) - other.radius
                    for other in others
                    if len(other.centre) == len(body.position)
                ),
                default=0.0,
            )
        )
    scene = starts[int(np.argmax(gaps))].copy()
    scene[list(body.position[:2])] = place
    return scene


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else math.nan
