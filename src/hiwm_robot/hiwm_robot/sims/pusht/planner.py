# SPDX-License-Identifier: Apache-2.0
"""Chooses the next push: all tabulated ones are scored, the best are refined in the physics itself.

The score of a push is the logarithm of how much nearer the T comes to its goal, per step that it
takes, the way to it included. Near contacts win, and on the way to one its score only rises, so a
plan made anew half-way is the same plan: what the pusher does is nearly a function of what one
sees, which is what makes the demonstrations easy to imitate. For the same reason a push is scored
by its mean over neighbouring starts: one that works only from an exact place is a poor example.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
import shapely

from hiwm_robot.sims.pusht.geometry import (
    PUSHER_RADIUS,
    TEE,
    compose,
    localize,
    place,
    pose_error,
)
from hiwm_robot.sims.pusht.path import (
    CRUISE,
    PUSH_SPEED,
    SUBSTEPS,
    Surroundings,
    inside_workspace,
    pusher_course,
    timed,
)
from hiwm_robot.sims.pusht.push import HEADINGS, LENGTHS, STARTS, Push, QuietEnv, push_table

FloatArray = NDArray[np.float64]

SETTLE_STEPS = 3
# Below this error, in units, less is no better.
ERROR_FLOOR = 0.4
# Steps that every push costs beside its way: getting under way, easing out and settling.
FIXED_STEPS = 9.0
LONGEST_PLAN = 80


@dataclass(frozen=True)
class Plan:
    """A push with its way.

    Attributes:
        commands: (n, 2) in units, one per step.
        states: (n, 10) the states foreseen after each.
        score: Logarithmic gain per step.
    """

    commands: FloatArray
    states: FloatArray
    score: float


class Planner:
    """Plans one push at a time.

    Args:
        refinements: How many variations of the best pushes are tried in the physics.
    """

    def __init__(self, refinements: int) -> None:
        self._env = QuietEnv(obs_type='state')
        self._table = push_table()
        self._refinements = refinements

    def plan(self, state: FloatArray) -> Plan | None:
        """The best plan found from a state (10,); None if no push can be reached."""
        pose, error = state[4:7], float(pose_error(state[4:7]))
        around = Surroundings(state[0:2], pose)
        # The same numbers for every plan: the plan is a function of the state alone.
        generator = np.random.default_rng(0)
        found: list[tuple[float, Push, FloatArray]] = []
        for push in self._tabulated(pose, error, around):
            self._try(push, state, error, around, found)
        for scale in (1.0, 0.35):
            found.sort(key=lambda entry: -entry[0])
            best = [push for _, push, _ in found[:4]]
            for index in range(self._refinements // 2 if best else 0):
                varied = _vary(best[index % len(best)], scale, generator)
                self._try(varied, state, error, around, found)
        if not found:
            return None
        score, _, commands = max(found, key=lambda entry: entry[0])
        return Plan(commands, self._rollout(state, commands), score)

    def _tabulated(self, pose: FloatArray, error: float, around: Surroundings) -> list[Push]:
        """The most promising pushes of the table, from different starts."""
        starts = place(self._table.starts, pose)
        steps = around.distances(self._table.starts) / CRUISE
        errors = pose_error(compose(pose, self._table.motions))
        blurred = 0.5 * errors + 0.25 * (np.roll(errors, 1, 0) + np.roll(errors, -1, 0))
        gain = np.log((error + ERROR_FLOOR) / (blurred + ERROR_FLOOR))
        score = gain / (FIXED_STEPS + steps[:, None, None] + LENGTHS / PUSH_SPEED)
        score[~inside_workspace(starts)] = -np.inf
        best_length = score.argmax(-1)
        flat = score.max(-1)
        chosen: list[Push] = []
        for index in np.argsort(-flat, axis=None)[:60]:
            row, column = divmod(int(index), len(HEADINGS))
            if not math.isfinite(flat[row, column]):
                break
            push = Push(
                row / STARTS, float(HEADINGS[column]), float(LENGTHS[best_length[row, column]])
            )
            if all(_apart(push, other) for other in chosen):
                chosen.append(push)
            if len(chosen) == 12:
                break
        return chosen

    def _try(
        self,
        push: Push,
        state: FloatArray,
        error: float,
        around: Surroundings,
        found: list[tuple[float, Push, FloatArray]],
    ) -> None:
        pose, start = state[4:7], push.start()
        if not inside_workspace(place(start, pose)):
            return
        try:
            way = around.path(start)
        except ValueError:
            return
        end = place(start + push.heading() * push.length, pose)
        commands = timed(np.concatenate([way, end[None]]), len(way) - 1, SETTLE_STEPS)
        if len(commands) > LONGEST_PLAN:
            return
        after = float(pose_error(self._rollout(state, commands)[-1, 4:7]))
        gain = math.log((error + ERROR_FLOOR) / (after + ERROR_FLOOR))
        found.append((gain / (len(commands) + 2.0), push, commands))

    def _rollout(self, state: FloatArray, commands: FloatArray) -> FloatArray:
        """The states (n, 10) after each command, exact to about 0.1 unit.

        Until the pusher comes near the T there is nothing to compute but its own course.
        """
        states = np.tile(state, (len(commands), 1))
        courses = pusher_course(state[0:4], commands)
        states[:, 0:4] = courses[1:]
        first = _free_steps(courses[:, 0:2], state[4:7])
        if first == len(commands):
            return states
        env = self._env
        env.write_state(np.concatenate([courses[first], state[4:]]))
        x, y, vx, vy = courses[first].tolist()
        agent, space, duration = env.agent, env.space, env.dt
        for index, (to_x, to_y) in enumerate(commands[first:].tolist(), first):
            for _ in range(SUBSTEPS):
                vx += (env.k_p * (to_x - x) - env.k_v * vx) * duration
                vy += (env.k_p * (to_y - y) - env.k_v * vy) * duration
                agent.velocity = (vx, vy)
                space.step(duration)
                x += vx * duration
                y += vy * duration
            states[index] = env.read_state()
        return states


def _free_steps(positions: FloatArray, pose: FloatArray) -> int:
    """How many steps between positions (n + 1, 2) surely pass before the pusher touches the T."""
    local = localize(positions, pose)
    gaps = shapely.distance(TEE, shapely.points(local)) - PUSHER_RADIUS - 1.0
    moves = np.linalg.norm(np.diff(local, axis=0), axis=1)
    touching = np.minimum(gaps[1:], gaps[:-1]) < moves
    return int(touching.argmax()) if touching.any() else len(moves)


def _apart(one: Push, other: Push) -> bool:
    along = abs((one.arc - other.arc + 0.5) % 1.0 - 0.5)
    return along > 1.5 / STARTS or abs(one.turn - other.turn) > math.radians(20.0)


def _vary(push: Push, scale: float, generator: np.random.Generator) -> Push:
    return Push(
        push.arc + generator.normal(0.0, 0.012 * scale),
        push.turn + generator.normal(0.0, 0.15 * scale),
        max(2.0, push.length + generator.normal(0.0, 6.0 * scale)),
    )
