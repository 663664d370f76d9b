# SPDX-License-Identifier: Apache-2.0
"""The T's shape, its goal, and how far a pose is from it; gym-pusht's units (millimetres), radians.

A pose is (x, y, angle) of the block's origin, the middle of the bar's outer edge.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
import shapely

FloatArray = NDArray[np.float64]

# gym-pusht's add_tee: a bar of 120 x 30 and a stem of 30 x 90.
OUTLINE = np.array(
    [
        [-60.0, 0.0],
        [60.0, 0.0],
        [60.0, 30.0],
        [15.0, 30.0],
        [15.0, 120.0],
        [-15.0, 120.0],
        [-15.0, 30.0],
        [-60.0, 30.0],
    ]
)
TEE = shapely.Polygon(OUTLINE)
PUSHER_RADIUS = 15.0
WORKSPACE = 512.0
GOAL = np.array([256.0, 256.0, math.pi / 4])


def place(points: FloatArray, pose: FloatArray) -> FloatArray:
    """Points (..., 2) of the block's frame, in the world."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + pose[:2]


def localize(points: FloatArray, pose: FloatArray) -> FloatArray:
    """Points (..., 2) of the world, in the block's frame."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    return (points - pose[:2]) @ np.array([[cosine, -sine], [sine, cosine]])


def compose(pose: FloatArray, motions: FloatArray) -> FloatArray:
    """The poses (..., 3) after motions (..., 3) given in the frame of `pose`."""
    return np.concatenate([place(motions[..., :2], pose), motions[..., 2:] + pose[2]], axis=-1)


def pose_error(poses: FloatArray) -> FloatArray:
    """Mean distance (...) of the outline's corners from the goal's, for poses (..., 3)."""
    cosine, sine = np.cos(poses[..., 2, None]), np.sin(poses[..., 2, None])
    x = cosine * OUTLINE[:, 0] - sine * OUTLINE[:, 1] + poses[..., 0, None]
    y = sine * OUTLINE[:, 0] + cosine * OUTLINE[:, 1] + poses[..., 1, None]
    goal = place(OUTLINE, GOAL)
    return np.hypot(x - goal[:, 0], y - goal[:, 1]).mean(-1)
