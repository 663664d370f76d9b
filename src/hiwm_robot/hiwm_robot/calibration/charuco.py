# SPDX-License-Identifier: Apache-2.0
"""A ChArUco board: a chessboard whose white squares bear numbered markers, so that a part of it in
sight is enough and no corner is taken for another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError

FloatArray = NDArray[np.float64]
ByteArray = NDArray[np.uint8]

# Corners in one picture, below which it says too little.
LEAST_CORNERS = 8
METRES_PER_INCH = 0.0254
# Of a square, white around a drawn board.
MARGIN = 0.5
# OpenCV before this names the functions otherwise (4.6), or tells some corners pixels away from
# where they are (4.8).
OLDEST = (4, 10)
# Before this it counts the corners of a board from the first pixel's edge, and all else from its
# middle.
AT_ZERO = (4, 14)
# The newest wheel that goes with numpy 1, which a native ROS 2 Jazzy is built for.
WHEEL = 'opencv-python-headless==4.11.0.86'


def opencv_version() -> tuple[int, int]:
    """Major and minor."""
    major, minor = cv2.__version__.split('.')[:2]
    return int(major), int(minor)


@dataclass(frozen=True, eq=False)
class Sighting:
    """The corners of a board in one picture.

    Attributes:
        name: Of the picture.
        ids: (N,), which corners.
        pixels: (N, 2), where; the middle of the first pixel is at 0.
    """

    name: str
    ids: NDArray[np.int64]
    pixels: FloatArray


@dataclass(frozen=True)
class Board:
    """A board as it is printed.

    Attributes:
        columns: Squares across.
        rows: Squares down.
        square: m, a side of a square.
        marker: m, a side of a marker.
        dictionary: Which markers, as OpenCV names them without 'DICT_'.

    Raises:
        ConfigurationError: There can be no such board, or this OpenCV sees none.
    """

    columns: int
    rows: int
    square: float
    marker: float
    dictionary: str

    def __post_init__(self) -> None:
        if opencv_version() < OLDEST:
            raise ConfigurationError(
                f'OpenCV {cv2.__version__} does not see a ChArUco board well; 4.10 or later is '
                f'needed: python3 -m pip install --user --break-system-packages {WHEEL}'
            )
        if min(self.columns, self.rows) < 3:
            raise ConfigurationError('the board needs at least 3 squares across and down')
        if not 0.0 < self.marker < self.square:
            raise ConfigurationError(
                f'the marker of {self.marker:g} m must be smaller than the square of '
                f'{self.square:g} m'
            )
        if not hasattr(cv2.aruco, f'DICT_{self.dictionary}'):
            known = sorted(
                name.removeprefix('DICT_') for name in dir(cv2.aruco) if name.startswith('DICT_')
            )
            raise ConfigurationError(
                f"there is no dictionary of markers '{self.dictionary}'; there is: "
                f'{", ".join(known)}'
            )
        markers, needed = len(self._markers.bytesList), self.columns * self.rows // 2
        if markers < needed:
            raise ConfigurationError(
                f'the dictionary {self.dictionary} has {markers} markers, the board needs '
                f'{needed}; choose a larger one'
            )

    @property
    def corners(self) -> int:
        """How many inner corners there are."""
        return (self.columns - 1) * (self.rows - 1)

    def points(self, ids: NDArray[np.int64]) -> FloatArray:
        """Where corners lie on the board (N, 3): m from its top left edge, x right, y down."""
        return np.asarray(self._pattern.getChessboardCorners(), np.float64)[ids]

    def draw(self, dots_per_inch: float) -> ByteArray:
        """The board as a grey picture to be printed at that resolution, with a white margin."""
        side = round(self.square / METRES_PER_INCH * dots_per_inch)
        margin = round(MARGIN * side)
        size = (self.columns * side + 2 * margin, self.rows * side + 2 * margin)
        return np.asarray(self._pattern.generateImage(size, marginSize=margin), np.uint8)

    def see(self, name: str, picture: ByteArray) -> Sighting | None:
        """The corners in a picture uint8 (H, W) or (H, W, 3) RGB; None: too few."""
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        found, ids, _, _ = self._detector.detectBoard(np.ascontiguousarray(grey))
        if ids is None or len(ids) < LEAST_CORNERS:
            return None
        numbers = np.asarray(ids, np.int64).ravel()
        if self._pattern.checkCharucoCornersCollinear(numbers.astype(np.int32)):
            return None
        pixels = np.asarray(found, np.float64).reshape(-1, 2)
        return Sighting(name, numbers, pixels if opencv_version() >= AT_ZERO else pixels - 0.5)

    @cached_property
    def _markers(self) -> cv2.aruco.Dictionary:
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f'DICT_{self.dictionary}'))

    @cached_property
    def _pattern(self) -> cv2.aruco.CharucoBoard:
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square, self.marker, self._markers
        )

    @cached_property
    def _detector(self) -> cv2.aruco.CharucoDetector:
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        return cv2.aruco.CharucoDetector(self._pattern, cv2.aruco.CharucoParameters(), parameters)


def read_size(text: str) -> tuple[int, int]:
    """Squares across and down from text such as '7x5'. Raises ConfigurationError."""
    match = re.fullmatch(r'(\d{1,3})x(\d{1,3})', text)
    if match is None:
        raise ConfigurationError(f"the board is '{text}'; it must be ACROSSxDOWN, such as 7x5")
    return int(match[1]), int(match[2])


class Chooser:
    """Of a stream of pictures, those in which the board is somewhere new.

    Args:
        least: px, how far the board's corners must have moved, in the mean.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._kept: list[dict[int, FloatArray]] = []

    def is_new(self, sighting: Sighting) -> bool:
        """Whether to keep a sighting; it is remembered then."""
        places = dict(zip(sighting.ids.tolist(), sighting.pixels, strict=True))
        for kept in self._kept:
            shared = kept.keys() & places.keys()
            if len(shared) < LEAST_CORNERS:
                continue
            moved = np.mean([np.linalg.norm(kept[one] - places[one]) for one in shared])
            if moved < self._least:
                return False
        self._kept.append(places)
        return True
