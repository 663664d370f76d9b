# SPDX-License-Identifier: Apache-2.0
"""Driving without a goal, for data that shows what actions do: play, and the workspace's edges.

An episode is a chain of short segments, each a way of moving with a pace and a duration of its own:
along the console's keys, at random, straight through a body, around it, shoving it to the edge,
along the edge. Everything is taken from the task: the actuated bodies, the other bodies, the
limits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_core.task_parts import Actuation, Body

FloatArray = NDArray[np.float64]

# The share of each kind of segment among those begun.
PLAY = {'through': 0.6, 'around': 0.1, 'keys': 0.12, 'wander': 0.1, 'leap': 0.04, 'rest': 0.04}
EDGE = {'shove': 0.45, 'edge': 0.2, 'through': 0.1, 'keys': 0.1, 'leap': 0.1, 'rest': 0.05}
# A body without landmarks has a size all the same: this share of its range.
SMALLEST = 0.02


@dataclass(frozen=True, eq=False)
class Extent:
    """Where a body is: the middle (D,) of its landmarks and their largest distance from it."""

    centre: FloatArray
    radius: float


def extent(task: Task, body: Body, scene: FloatArray) -> Extent:
    """A body's place in a scene (S,)."""
    position = np.array([scene[task.scene_index(name)] for name in body.position])
    points = np.array(body.points or [[0.0] * len(position)])
    middle = points.mean(0)
    ranges = [task.scene[task.scene_index(name)] for name in body.position]
    room = sum(variable.high - variable.low for variable in ranges) / len(ranges)
    radius = max(float(np.linalg.norm(points - middle, axis=1).max()), SMALLEST * room)
    if body.angle is not None and len(position) == 2:
        angle = scene[task.scene_index(body.angle)]
        cosine, sine = math.cos(angle), math.sin(angle)
        middle = np.array([[cosine, -sine], [sine, cosine]]) @ middle
    return Extent(position + middle, radius)


class PlayDriver:
    """Drives every actuated body of a task by itself; the same seed gives the same driving.

    Args:
        shares: PLAY or EDGE.
    """

    source = Source.OPERATOR

    def __init__(
        self, task: Task, seed: int, shares: dict[str, float] = PLAY, device: str = 'play'
    ) -> None:
        self.device = device
        self._task = task
        self._hands = [
            Hand(task, actuation, shares, np.random.default_rng([seed, number]))
            for number, actuation in enumerate(task.actuated)
            if set(actuation.joints) & set(task.action_names)
        ]

    def restart(self) -> None:
        """Drop what was begun; go on from where the joints are."""
        for hand in self._hands:
            hand.restart()

    def action(self, history: list[Observation]) -> FloatArray:
        action = self._task.hold_action(history[-1].joints)
        for hand in self._hands:
            action[hand.columns] = hand.next_command(history[-1])
        return action


class Hand:
    """One actuated body and its part of the action.

    A segment is a generator of commands (D,); while it runs, `self._seen` is the newest observation
    and `self._command` the command before.
    """

    def __init__(
        self,
        task: Task,
        actuation: Actuation,
        shares: dict[str, float],
        generator: np.random.Generator,
    ) -> None:
        # A joint that is only measured (one that mimics another, say) is nobody's to command.
        commanded = [name for name in actuation.joints if name in task.action_names]
        self.columns = [task.action_names.index(name) for name in commanded]
        self._task = task
        self._random = generator
        self._joints = [task.joint_names.index(name) for name in commanded]
        self._low = task.action_low[self.columns]
        self._high = task.action_high[self.columns]
        self._max_step = float(task.action_max_step[self.columns].min())
        actuated = {part.body for part in task.actuated}
        # Only what has places of the same kind can be driven at: no joint angles at a towel.
        dimensions = len(self.columns) if len(self.columns) == len(actuation.joints) else 0
        self._bodies = [
            body
            for body in task.bodies
            if body.name not in actuated and 2 <= len(body.position) == dimensions <= 3
        ]
        moves = [
            np.array([speeds.get(task.action_names[column], 0.0) for column in self.columns])
            for speeds in task.keys.values()
        ]
        self._key_moves = [move * task.period for move in moves if move.any()]
        possible = {
            name: share
            for name, share in shares.items()
            if (name != 'keys' or self._key_moves)
            and (name not in {'through', 'around', 'shove'} or self._bodies)
        }
        self._names = list(possible)
        self._shares = np.array(list(possible.values())) / sum(possible.values())
        self._segment: Iterator[FloatArray] = iter(())
        self._command: FloatArray | None = None
        self._seen: Observation

    def restart(self) -> None:
        """Drop the segment; the next one begins at the measured place."""
        self._segment = iter(())
        self._command = None

    def next_command(self, observation: Observation) -> FloatArray:
        """The next command (D,), within the limits."""
        self._seen = observation
        if self._command is None:
            self._command = observation.joints[self._joints]
        command = next(self._segment, None)
        while command is None:
            kind = self._names[self._random.choice(len(self._names), p=self._shares)]
            self._segment = getattr(self, f'_{kind}')()
            command = next(self._segment, None)
        change = command - self._command
        change *= min(1.0, self._max_step / max(float(np.abs(change).max()), 1e-9))
        self._command = np.clip(self._command + change, self._low, self._high)
        return self._command

    # -- segments --------------------------------------------------------------------------------

    def _through(self) -> Iterator[FloatArray]:
        """From a random side of a body straight through it."""
        yield from self._push(self._direction(), self._random.uniform(0.3, 2.2))

    def _shove(self) -> Iterator[FloatArray]:
        """A body to the edge or into a corner."""
        away = self._edge_point() - self._body().centre
        distance = max(float(np.linalg.norm(away)), 1e-9)
        yield from self._push(away / distance, distance / self._body().radius + 1.0)

    def _push(self, direction: FloatArray, reach: float) -> Iterator[FloatArray]:
        """To the far side of the body, then along `direction` to `reach` radii past its middle."""
        body = self._body()
        aside = self._direction()
        aside -= direction * (aside @ direction)
        offset = aside * body.radius * self._random.uniform(0.0, 0.9)
        start = body.centre - direction * body.radius * self._random.uniform(1.1, 1.5) + offset
        if self._random.random() < 0.8:
            yield from self._detour(body, start)
        yield from self._go(start, self._pace(0.25, 0.7), 25)
        end = body.centre + direction * body.radius * reach + offset
        shake = self._pace(0.0, 0.08) if self._random.random() < 0.3 else 0.0
        for command in self._go(end, self._pace(0.06, 0.45), 40):
            yield command + self._random.normal(0.0, shake, len(command))
        if self._random.random() < 0.3:
            yield from self._go(start, self._pace(0.1, 0.5), 6)

    def _detour(self, body: Extent, goal: FloatArray) -> Iterator[FloatArray]:
        """Around the body to the goal's side of it."""
        here, pace = self._current(), self._pace(0.25, 0.7)
        begin = math.atan2(*(here - body.centre)[1::-1])
        turn = math.remainder(math.atan2(*(goal - body.centre)[1::-1]) - begin, math.tau)
        for part in np.linspace(0.0, turn, 2 + math.floor(abs(turn) / 0.6))[1:-1]:
            point = goal.copy()
            point[:2] = body.centre[:2] + 1.3 * body.radius * np.array(
                [math.cos(begin + part), math.sin(begin + part)]
            )
            yield from self._go(point, pace, 12, near=0.5 * pace)

    def _around(self) -> Iterator[FloatArray]:
        """Around a body, near enough to touch it or farther off, in either sense."""
        body = self._body()
        radius = body.radius * self._random.uniform(0.6, 1.6)
        pace = self._pace(0.1, 0.4) * self._random.choice([-1.0, 1.0])
        for _ in range(self._random.integers(8, 25)):
            arm = self._current() - body.centre
            angle = math.atan2(arm[1], arm[0]) + pace / radius
            point = self._current()
            point[:2] = body.centre[:2] + radius * np.array([math.cos(angle), math.sin(angle)])
            yield self._towards(point, abs(pace))

    def _keys(self) -> Iterator[FloatArray]:
        """One or two of the console's keys held down, a few times."""
        for _ in range(self._random.integers(1, 5)):
            moves = self._random.choice(len(self._key_moves), 2)
            step = self._key_moves[moves[0]].copy()
            if self._random.random() < 0.4:
                step = np.where(step == 0.0, self._key_moves[moves[1]], step)
            for _ in range(self._random.integers(2, 12)):
                yield self._current() + step

    def _wander(self) -> Iterator[FloatArray]:
        """A smooth random walk."""
        pace, step = self._pace(0.05, 0.4), np.zeros(len(self.columns))
        for _ in range(self._random.integers(8, 30)):
            step = 0.75 * step + self._random.normal(0.0, 0.6 * pace, len(step))
            yield self._current() + step

    def _leap(self) -> Iterator[FloatArray]:
        """To anywhere at once, as fast as the task allows."""
        goal = self._random.uniform(self._low, self._high)
        yield from self._go(goal, self._max_step, int(self._random.integers(1, 8)))

    def _rest(self) -> Iterator[FloatArray]:
        """Nothing."""
        for _ in range(self._random.integers(2, 8)):
            yield self._current()

    def _edge(self) -> Iterator[FloatArray]:
        """To the edge and along it, into the corner."""
        for _ in range(self._random.integers(1, 4)):
            yield from self._go(self._edge_point(), self._pace(0.15, 0.8), 20)

    # -- places ----------------------------------------------------------------------------------

    def _current(self) -> FloatArray:
        assert self._command is not None
        return self._command.copy()

    def _go(
        self, goal: FloatArray, pace: float, steps: int, near: float = 1e-3
    ) -> Iterator[FloatArray]:
        goal = np.clip(goal, self._low, self._high)
        for _ in range(steps):
            if np.linalg.norm(goal - self._current()) <= near:
                return
            yield self._towards(goal, pace)

    def _towards(self, goal: FloatArray, pace: float) -> FloatArray:
        way = goal - self._current()
        return self._current() + way * min(1.0, pace / max(float(np.linalg.norm(way)), 1e-9))

    def _body(self) -> Extent:
        """The nearest body that is not actuated."""
        here = self._seen.joints[self._joints]
        found = [extent(self._task, body, self._seen.scene) for body in self._bodies]
        return min(found, key=lambda body: float(np.linalg.norm(body.centre - here)))

    def _edge_point(self) -> FloatArray:
        """On a random side of the workspace, two times in five in a corner."""
        point = self._random.uniform(self._low, self._high)
        sides = np.where(self._random.random(len(point)) < 0.5, self._low, self._high)
        if self._random.random() < 0.4:
            return sides
        side = self._random.integers(len(point))
        point[side] = sides[side]
        return point

    def _direction(self) -> FloatArray:
        vector = self._random.normal(size=len(self.columns))
        return vector / max(float(np.linalg.norm(vector)), 1e-9)

    def _pace(self, low: float, high: float) -> float:
        """A random pace per step, from shares of the largest change per step."""
        return self._max_step * self._random.uniform(low, high)
