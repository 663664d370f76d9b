# SPDX-License-Identifier: Apache-2.0
"""Where the table is, from one picture of a board that lies on it."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_robot.calibration.charuco import Board, Sighting
from hiwm_robot.calibration.lens_fit import pose_of
from hiwm_robot.camera.adapter_file import TablePose
from hiwm_robot.camera.lens import Lens

FloatArray = NDArray[np.float64]

# rad between the table and the line of sight; flatter, and a pixel is a hand wide.
FLATTEST = math.radians(15.0)


@dataclass(frozen=True)
class Placement:
    """Where the board lies in the task's workspace.

    Attributes:
        x: m, of its top left edge.
        y: m.
        angle: rad, from x to y.
    """

    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0


@dataclass(frozen=True, eq=False)
class TableFit:
    """Where the table is, and how well the board's corners agree.

    Attributes:
        pose: Of the workspace.
        error: px, root mean square over the corners.
        table_error: m, the same on the table.
        tilt: rad, between the line of sight and straight down.
        sighting: What was seen.
        residuals: px (N, 2), seen less predicted.
    """

    pose: TablePose
    error: float
    table_error: float
    tilt: float
    sighting: Sighting
    residuals: FloatArray


def fit_table(board: Board, sighting: Sighting, lens: Lens, placement: Placement) -> TableFit:
    """The workspace's pose from a board on the table.

    Raises:
        HiwmError: The camera looks along the table, or there is no pose.
    """
    rotation, translation = pose_of(board, sighting, lens)
    board_axes = np.asarray(cv2.Rodrigues(rotation)[0], np.float64)
    tilt = math.acos(min(abs(float(board_axes[2, 2])), 1.0))
    if tilt > math.pi / 2 - FLATTEST:
        raise HiwmError(
            f'the camera looks along the table ({math.degrees(tilt):.0f} degrees from straight '
            'down); mount it higher'
        )
    cos, sin = math.cos(placement.angle), math.sin(placement.angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    axes = board_axes @ turn.T
    origin = translation - axes @ (placement.x, placement.y, 0.0)
    vector, _ = cv2.Rodrigues(axes)
    points = board.points(sighting.ids)
    residuals = sighting.pixels - lens.project(points, rotation, translation)
    on_table = _places(lens, sighting.pixels, board_axes, translation) - points[:, :2]
    return TableFit(
        pose=TablePose(_three(np.ravel(vector)), _three(origin)),
        error=_root_mean_square(residuals),
        table_error=_root_mean_square(on_table),
        tilt=tilt,
        sighting=sighting,
        residuals=residuals,
    )


def _places(
    lens: Lens, pixels: FloatArray, axes: NDArray[np.floating], translation: FloatArray
) -> FloatArray:
    """m (N, 2), where on the board's plane pixels (N, 2) look."""
    undone = cv2.undistortPoints(pixels[:, None], lens.matrix, np.array(lens.distortion))
    rays = np.column_stack((np.reshape(undone, (-1, 2)), np.ones(len(pixels)))) @ axes
    eye = -translation @ axes
    return np.asarray(eye[:2] - (eye[2] / rays[:, 2])[:, None] * rays[:, :2], np.float64)


def _three(values: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _root_mean_square(residuals: FloatArray) -> float:
    return float(np.sqrt(np.mean(np.sum(residuals**2, axis=-1))))
