# SPDX-License-Identifier: Apache-2.0
"""What pushes do to the T, tabulated once.

gym-pusht's block has no momentum (its space damps all velocity away) and no friction with the
pusher, so how far it moves depends on the pusher's path and not on its speed. Away from the walls
the motion is the same wherever the block lies. A table over (where the push starts around the T,
its heading, its length), in the block's own frame, therefore answers for every pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import math

import numpy as np
from numpy.typing import NDArray
import shapely

from hiwm_robot.sims.pusht.geometry import PUSHER_RADIUS, TEE
from hiwm_robot.sims.pusht.simulator import STATE_SIZE, StateEnv

FloatArray = NDArray[np.float64]

# A push starts this far from the outline: the pusher's radius and a gap of 6.
STANDOFF = PUSHER_RADIUS + 6.0
STARTS = 120
HEADINGS = np.radians([-40.0, -25.0, -12.0, 0.0, 12.0, 25.0, 40.0])
LENGTH_STEP = 4.0
LENGTHS = LENGTH_STEP * np.arange(1, 43)
SUBSTEP = 2.0

_RING = TEE.buffer(STANDOFF).exterior


@dataclass(frozen=True)
class Push:
    """A straight push in the block's frame.

    Attributes:
        arc: Where it starts, as a share of the way around the T, 0 to 1.
        turn: Its heading against the direction to the nearest point of the T, radians.
        length: How far the pusher goes.
    """

    arc: float
    turn: float
    length: float

    def start(self) -> FloatArray:
        """The pusher's centre (2,) before the push, in the block's frame."""
        return _start(self.arc)

    def heading(self) -> FloatArray:
        """The unit vector (2,) of the push, in the block's frame."""
        return _heading(self.arc, self.turn)


def _start(arc: float) -> FloatArray:
    return np.array(_RING.interpolate(arc % 1.0, normalized=True).coords[0])


def _heading(arc: float, turn: float) -> FloatArray:
    start = shapely.Point(_start(arc))
    inward = np.array(shapely.shortest_line(start, TEE).coords[1]) - np.array(start.coords[0])
    angle = math.atan2(inward[1], inward[0]) + turn
    return np.array([math.cos(angle), math.sin(angle)])


@dataclass(frozen=True)
class PushTable:
    """Every tabulated push.

    Attributes:
        starts: (STARTS, 2) pusher centres in the block's frame.
        motions: (STARTS, HEADINGS, LENGTHS, 3) motion of the block, in its frame before the push.
    """

    starts: FloatArray
    motions: FloatArray


@cache
def push_table() -> PushTable:
    """The table, computed in gym-pusht's physics on first use (about 1 s)."""
    starts = np.array([_start(index / STARTS) for index in range(STARTS)])
    motions = np.zeros((STARTS, len(HEADINGS), len(LENGTHS), 3))
    env = QuietEnv(obs_type='state')
    for row in range(STARTS):
        for column, turn in enumerate(HEADINGS):
            motions[row, column] = _motions(env, starts[row], _heading(row / STARTS, turn))
    return PushTable(starts, motions)


class QuietEnv(StateEnv):
    """The same physics without gym-pusht's contact counter, which costs more than contacts."""

    def _setup(self) -> None:
        super()._setup()
        for shape in self.space.shapes:
            # The counter listens to the default type.
            shape.collision_type = 1


def _motions(env: QuietEnv, start: FloatArray, heading: FloatArray) -> FloatArray:
    state = np.zeros(STATE_SIZE)
    state[0:2] = start
    env.write_state(state)
    env.space.remove(*env.space.static_body.shapes)
    duration = env.dt
    env.agent.velocity = tuple((heading * SUBSTEP / duration).tolist())
    motions = np.zeros((len(LENGTHS), 3))
    for index in range(len(LENGTHS)):
        for _ in range(round(LENGTH_STEP / SUBSTEP)):
            env.space.step(duration)
        motions[index] = (*env.block.position, env.block.angle)
    return motions
