# SPDX-License-Identifier: Apache-2.0
"""Ways around the T: shortest free paths for the pusher, and their timing as commands.

The pusher follows its command as gym-pusht's PD control makes it: critically damped with 10 rad/s,
so on a steady course it trails by 0.2 s. A command that slows down towards its end therefore brings
the pusher to rest there without overshoot.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
import shapely

from hiwm_robot.sims.pusht.geometry import PUSHER_RADIUS, TEE, WORKSPACE, localize, place

FloatArray = NDArray[np.float64]

# Corners are passed at this distance from the outline; legs may come as near as CLEARANCE.
CORNER_DISTANCE = PUSHER_RADIUS + 18.0
CLEARANCE = PUSHER_RADIUS + 4.5
MARGIN = 6.0

# Speeds are in units per step, the acceleration in units per step per step.
CRUISE = 32.0
BEND_SPEED = 11.0
PUSH_BEGIN_SPEED = 10.0
PUSH_SPEED = 20.0
SLOWEST = 2.0
ACCELERATION = 6.0
EASE = 0.4
RIGHT_ANGLE = math.pi / 2.0

# gym-pusht's control of the pusher: ten substeps of 0.01 s per step.
STIFFNESS = 100.0
DAMPING = 20.0
SUBSTEP = 0.01
SUBSTEPS = 10

_CORNERS = np.array(TEE.convex_hull.buffer(CORNER_DISTANCE, quad_segs=2).exterior.coords[:-1])
_FORBIDDEN = TEE.buffer(CLEARANCE)
shapely.prepare(_FORBIDDEN)


def inside_workspace(points: FloatArray) -> NDArray[np.bool_]:
    """Which of the points (..., 2) the pusher can be commanded to."""
    return np.all((points > MARGIN) & (points < WORKSPACE - MARGIN), axis=-1)


def _free(starts: FloatArray, ends: FloatArray) -> NDArray[np.bool_]:
    legs = shapely.linestrings(np.stack([starts, ends], axis=-2))
    return ~shapely.intersects(_FORBIDDEN, legs)


def _leg_lengths(starts: FloatArray, ends: FloatArray) -> FloatArray:
    """Distances (A, B) between points (A, 2) and (B, 2), block's frame; inf where not free."""
    pairs = np.broadcast_arrays(starts[:, None], ends[None])
    return np.where(_free(*pairs), np.linalg.norm(pairs[0] - pairs[1], axis=-1), np.inf)


_BETWEEN_CORNERS = _leg_lengths(_CORNERS, _CORNERS)
np.fill_diagonal(_BETWEEN_CORNERS, 0.0)


class Surroundings:
    """Shortest free paths from the pusher's place around the T in one pose.

    Args:
        pusher: (2,) in the world.
        pose: (3,) of the block.
    """

    def __init__(self, pusher: FloatArray, pose: FloatArray) -> None:
        self._pose = pose
        self._pusher = pusher
        local = localize(pusher, pose)
        self._exit = _way_out(local)
        usable = inside_workspace(place(_CORNERS, pose))
        blocked = ~(usable[:, None] & usable[None])
        distances = np.where(blocked, np.inf, _BETWEEN_CORNERS)
        self._before = np.where(np.isfinite(distances), np.arange(len(_CORNERS))[:, None], -1)
        for middle in range(len(_CORNERS)):
            through = distances[:, middle, None] + distances[None, middle]
            shorter = through < distances
            distances = np.where(shorter, through, distances)
            self._before = np.where(shorter, self._before[middle][None], self._before)
        first = _leg_lengths(self._exit[None], _CORNERS)[0]
        reach = first[:, None] + distances
        self._entry = reach.argmin(0)
        self._reach = reach.min(0)
        self._lead = float(np.linalg.norm(self._exit - local))

    def distances(self, ends: FloatArray) -> FloatArray:
        """Path lengths (N,) to ends (N, 2) in the block's frame; inf where there is no way."""
        direct, around, _ = self._ways(ends)
        return self._lead + np.minimum(direct, around)

    def path(self, end: FloatArray) -> FloatArray:
        """Way points (n, 2) in the world to an end (2,) in the block's frame, the pusher's first.

        Raises:
            ValueError: There is no way.
        """
        direct, around, last = (values[0] for values in self._ways(end[None]))
        if not np.isfinite(min(direct, around)):
            raise ValueError('the push cannot be reached')
        points = [end]
        if around < direct:
            corner = int(last)
            entry = int(self._entry[corner])
            points.append(_CORNERS[corner])
            while corner != entry:
                corner = int(self._before[entry, corner])
                points.append(_CORNERS[corner])
        way = place(np.array([self._exit, *points[::-1]]), self._pose)
        if self._lead > 0.0:
            return np.concatenate([self._pusher[None], way])
        way[0] = self._pusher
        return way

    def _ways(self, ends: FloatArray) -> tuple[FloatArray, FloatArray, NDArray[np.intp]]:
        direct = _leg_lengths(self._exit[None], ends)[0]
        around = self._reach[:, None] + _leg_lengths(_CORNERS, ends)
        return direct, around.min(0), around.argmin(0)


def _way_out(point: FloatArray) -> FloatArray:
    """The nearest place with clearance, for a pusher that touches the T; else the point itself."""
    here = shapely.Point(point)
    if not shapely.intersects(_FORBIDDEN, here):
        return point
    nearest = np.array(shapely.shortest_line(here, _FORBIDDEN.exterior).coords[1])
    outward = nearest - point
    return nearest + outward / max(float(np.linalg.norm(outward)), 1e-9) * 1.5


def timed(way: FloatArray, pushed_from: int, settle: int) -> FloatArray:
    """Commands (n, 2), one per step, along way points (m, 2) in the world.

    The speed changes smoothly, falls before a bend by how sharp it is (the pusher would cut the
    corner), is at most PUSH_SPEED from way point number `pushed_from` on, and eases out towards the
    end, where the command rests for `settle` steps.
    """
    legs = np.diff(way, axis=0)
    lengths = np.maximum(np.linalg.norm(legs, axis=1), 1e-9)
    arc = np.concatenate([[0.0], np.cumsum(lengths)])
    headings = legs / lengths[:, None]
    bends = np.arccos(np.clip((headings[1:] * headings[:-1]).sum(-1), -1.0, 1.0))
    slow = CRUISE - (CRUISE - BEND_SPEED) * np.minimum(1.0, bends / RIGHT_ANGLE)
    slow[pushed_from - 1 :] = PUSH_BEGIN_SPEED
    travelled, speed = 0.0, 0.0
    marks = []
    while travelled < arc[-1] - 0.05:
        ahead = arc[1:-1] - travelled
        limits = np.where(ahead > -1e-9, slow + EASE * ahead, CRUISE)
        cruise = PUSH_SPEED if travelled > arc[pushed_from] - 1e-9 else CRUISE
        ease_out = max(EASE * (arc[-1] - travelled), SLOWEST)
        speed = min(speed + ACCELERATION, cruise, ease_out, *limits.tolist())
        travelled = min(travelled + speed, arc[-1])
        marks.append(travelled)
    marks += [arc[-1]] * settle
    commands = np.stack([np.interp(marks, arc, way[:, axis]) for axis in range(2)], axis=-1)
    return np.clip(commands, 0.0, WORKSPACE)


def pusher_course(start: FloatArray, commands: FloatArray) -> FloatArray:
    """Positions and velocities (n + 1, 4) of the pusher from a start (4,) along commands (n, 2).

    The pusher is kinematic: nothing that it touches changes its course.
    """
    course = np.empty((len(commands) + 1, 4))
    course[0] = start
    for index, command in enumerate(commands):
        offset = course[index, 0:2] - command
        velocity = course[index, 2:4]
        course[index + 1, 0:2] = command + _STEP[0, 0] * offset + _STEP[0, 1] * velocity
        course[index + 1, 2:4] = _STEP[1, 0] * offset + _STEP[1, 1] * velocity
    return course


# One step of (position - command, velocity): the velocity is updated first, then the position.
_STEP = np.linalg.matrix_power(
    np.array(
        [
            [1.0 - STIFFNESS * SUBSTEP**2, SUBSTEP * (1.0 - DAMPING * SUBSTEP)],
            [-STIFFNESS * SUBSTEP, 1.0 - DAMPING * SUBSTEP],
        ]
    ),
    SUBSTEPS,
)
