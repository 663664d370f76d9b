# SPDX-License-Identifier: Apache-2.0
"""A camera's intrinsics from pictures of a board, by Zhang's method as OpenCV has it.

How good they are is told by pictures that the fit has not seen: from these only the board's pose is
taken, and what remains is the lens's error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_robot.calibration.charuco import Board, Sighting
from hiwm_robot.camera.lens import Lens

FloatArray = NDArray[np.float64]

LEAST_PICTURES = 8
HELD_OUT_SHARE = 0.25
# Standard deviation of the focal length, as a share of it, above which the pictures are too alike.
MOST_UNCERTAINTY = 0.01
# rad between the boards of some two pictures. Of boards that are all parallel the focal length
# cannot be told from the distance, and the deviation, a local measure, does not show it.
LEAST_TILT = math.radians(20.0)
# A picture with more than so many times the median error was blurred, or moved.
OUTLIER = 3.0
# px; below it no picture is called an outlier.
OUTLIER_FLOOR = 1.0


@dataclass(frozen=True, eq=False)
class LensFit:
    """Intrinsics and how good they are.

    Attributes:
        lens: The result, of all pictures.
        error: px, root mean square over the corners of all pictures.
        held_out_error: px, the same over pictures that the fit had not seen.
        deviation: px, standard deviations of fx, fy, cx and cy.
        coverage: Share of the picture, in 8 by 6 fields, in which corners were seen.
        sightings: Those that were used.
        residuals: px (N, 2) each, seen less predicted.
        left_out: Names of pictures that did not fit the others.
    """

    lens: Lens
    error: float
    held_out_error: float
    deviation: tuple[float, ...]
    coverage: float
    sightings: tuple[Sighting, ...]
    residuals: tuple[FloatArray, ...]
    left_out: tuple[str, ...]


def fit_lens(
    board: Board, sightings: Sequence[Sighting], size: tuple[int, int], seed: int = 0
) -> LensFit:
    """Fit pinhole and distortion.

    Args:
        size: Width and height of every picture, px.
        seed: Of which pictures are held out.

    Raises:
        HiwmError: There are too few pictures, or they are too alike.
    """
    _check_count(len(sightings))
    first = _fit(board, sightings, size)
    errors = np.array([_root_mean_square(one) for one in first.residuals])
    kept_below = max(OUTLIER * float(np.median(errors)), OUTLIER_FLOOR)
    used = [one for one, error in zip(sightings, errors, strict=True) if error <= kept_below]
    left_out = [
        one.name for one, error in zip(sightings, errors, strict=True) if error > kept_below
    ]
    _check_count(len(used))
    order = np.random.default_rng(seed).permutation(len(used))
    held = set(order[: max(2, round(HELD_OUT_SHARE * len(used)))].tolist())
    seen = _fit(board, [one for number, one in enumerate(used) if number not in held], size)
    held_out = [residuals_of(board, used[number], seen.lens) for number in sorted(held)]
    fit = _fit(board, used, size)
    uncertain = fit.deviation[0] / fit.lens.fx
    if fit.tilt < LEAST_TILT or not uncertain <= MOST_UNCERTAINTY:
        raise HiwmError(
            f'the pictures are too alike: the boards differ by {math.degrees(fit.tilt):.0f} '
            f'degrees and the focal length is known to {uncertain:.1%}; add some in which the '
            'board is tilted by 30 to 45 degrees, in every direction'
        )
    return LensFit(
        lens=fit.lens,
        error=_root_mean_square(np.concatenate(fit.residuals)),
        held_out_error=_root_mean_square(np.concatenate(held_out)),
        deviation=fit.deviation,
        coverage=_coverage(used, size),
        sightings=tuple(used),
        residuals=fit.residuals,
        left_out=tuple(left_out),
    )


def pose_of(board: Board, sighting: Sighting, lens: Lens) -> tuple[FloatArray, FloatArray]:
    """The board's rotation (3,) as a Rodrigues vector and translation (3,), m, to the camera.

    Raises:
        HiwmError: There is none.
    """
    points = board.points(sighting.ids)
    matrix, distortion = lens.matrix, np.array(lens.distortion)
    # Of a plane there are two poses that look much alike: the better one is refined.
    found, rotation, translation = cv2.solvePnP(
        points, sighting.pixels, matrix, distortion, flags=cv2.SOLVEPNP_IPPE
    )
    if not found:
        raise HiwmError(f"the board's pose cannot be found in {sighting.name}; take another")
    rotation, translation = cv2.solvePnPRefineLM(
        points, sighting.pixels, matrix, distortion, rotation, translation
    )
    return _vector(rotation), _vector(translation)


def residuals_of(board: Board, sighting: Sighting, lens: Lens) -> FloatArray:
    """px (N, 2), what a lens leaves unexplained once the board's pose is fitted."""
    rotation, translation = pose_of(board, sighting, lens)
    return sighting.pixels - lens.project(board.points(sighting.ids), rotation, translation)


@dataclass(frozen=True, eq=False)
class _Fit:
    lens: Lens
    deviation: tuple[float, ...]
    residuals: tuple[FloatArray, ...]
    tilt: float


def _fit(board: Board, sightings: Sequence[Sighting], size: tuple[int, int]) -> _Fit:
    points = [board.points(one.ids).astype(np.float32) for one in sightings]
    pixels = [one.pixels.astype(np.float32) for one in sightings]
    try:
        _, matrix, distortion, rotations, translations, deviations, _, _ = (
            cv2.calibrateCameraExtended(points, pixels, size, np.eye(3), np.zeros(5))
        )
    except cv2.error as error:
        raise HiwmError(
            'no lens fits the pictures; is the board as it was given, and flat?'
        ) from error
    matrix = np.asarray(matrix, float)
    lens = Lens(
        *size,
        fx=float(matrix[0, 0]),
        fy=float(matrix[1, 1]),
        cx=float(matrix[0, 2]),
        cy=float(matrix[1, 2]),
        distortion=tuple(float(value) for value in np.asarray(distortion).ravel()),
    )
    residuals = tuple(
        one.pixels - lens.project(board.points(one.ids), _vector(rotation), _vector(translation))
        for one, rotation, translation in zip(sightings, rotations, translations, strict=True)
    )
    normals = np.array([np.asarray(cv2.Rodrigues(one)[0])[:, 2] for one in rotations])
    tilt = math.acos(float(np.clip((normals @ normals.T).min(), -1.0, 1.0)))
    deviation = tuple(float(value) for value in np.ravel(deviations)[:4])
    return _Fit(lens, deviation, residuals, tilt)


def _vector(values: Any) -> FloatArray:
    """OpenCV's column as (3,)."""
    return np.asarray(values, np.float64).ravel()


def _check_count(count: int) -> None:
    if count < LEAST_PICTURES:
        raise HiwmError(
            f'the board is seen well in {count} pictures; {LEAST_PICTURES} are needed, 20 are '
            'good: near and far, in every corner of the picture, tilted in every direction'
        )


def _root_mean_square(residuals: FloatArray) -> float:
    """px, of distances."""
    return float(np.sqrt(np.mean(np.sum(residuals**2, axis=-1))))


def _coverage(sightings: Sequence[Sighting], size: tuple[int, int]) -> float:
    pixels = np.concatenate([one.pixels for one in sightings])
    fields = np.array([8, 6])
    cells = np.clip((pixels / size * fields).astype(int), 0, fields - 1)
    return len({tuple(cell) for cell in cells.tolist()}) / float(fields.prod())
