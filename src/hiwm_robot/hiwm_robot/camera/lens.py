# SPDX-License-Identifier: Apache-2.0
"""A camera's intrinsics: its pinhole and its distortion, in OpenCV's and ROS's convention.

Pixel coordinates are 0 at the centre of the first pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError

FloatArray = NDArray[np.float64]

# What `sensor_msgs/CameraInfo` calls the model with 4, 5 or 8 coefficients, and how many are taken.
PLUMB_BOB, RATIONAL = 'plumb_bob', 'rational_polynomial'
COUNTS = {PLUMB_BOB: (0, 4, 5), RATIONAL: (8,)}


@dataclass(frozen=True)
class Lens:
    """How a camera maps directions to pixels.

    Attributes:
        width: px.
        height: px.
        fx: px.
        fy: px.
        cx: px.
        cy: px.
        distortion: k1, k2, p1, p2 and as many more as OpenCV takes (0, 4, 5 or 8).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    @property
    def matrix(self) -> FloatArray:
        """K (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def model(self) -> str:
        """The distortion's name in `sensor_msgs/CameraInfo`."""
        return RATIONAL if len(self.distortion) == 8 else PLUMB_BOB

    def project(
        self, points: FloatArray, rotation: FloatArray, translation: FloatArray
    ) -> FloatArray:
        """Pixels (N, 2) of points (N, 3) in m.

        Args:
            rotation: (3,), the Rodrigues vector from the points' frame to the camera's, rad.
            translation: (3,), m.
        """
        pixels, _ = cv2.projectPoints(
            np.ascontiguousarray(points, np.float64),
            np.asarray(rotation, np.float64),
            np.asarray(translation, np.float64),
            self.matrix,
            np.array(self.distortion),
        )
        return np.asarray(pixels, np.float64).reshape(-1, 2)


def lens_of(
    width: int, height: int, matrix: Sequence[float], distortion: Sequence[float], model: str
) -> Lens:
    """The lens that a camera's info tells.

    Args:
        matrix: K (9,), row by row.

    Raises:
        HiwmError: It is not calibrated, or its model is not known here.
    """
    if model not in COUNTS and any(distortion):
        raise HiwmError(
            f"the camera's info has the distortion model '{model}'; the known ones are: "
            f'{", ".join(COUNTS)}; give the file a `lens` by calibrate_camera'
        )
    if model in COUNTS and len(distortion) not in COUNTS[model]:
        raise HiwmError(
            f"the camera's info has {len(distortion)} coefficients for the model '{model}'"
        )
    fx, _, cx, _, fy, cy = (float(value) for value in matrix[:6])
    if not (fx > 0.0 and fy > 0.0) or not all(map(math.isfinite, (*matrix, *distortion))):
        raise HiwmError(
            "the camera's info holds no calibration; give the file a `lens` by calibrate_camera"
        )
    kept = tuple(float(value) for value in distortion) if any(distortion) else ()
    return Lens(int(width), int(height), fx, fy, cx, cy, kept)
