# SPDX-License-Identifier: Apache-2.0
"""Pictures of a printed board, drawn through a camera of which everything is known."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_robot.calibration.charuco import MARGIN, METRES_PER_INCH, Board
from hiwm_robot.camera.lens import Lens

BOARD = Board(7, 5, 0.04, 0.03, '4X4_50')
RESOLUTION = 60.0  # dots per inch, about what the camera resolves
FINER = 2  # samples a side of each pixel


class PrintedBoard:
    """A board in front of a camera.

    Args:
        board: As it is printed.
        lens: The camera's.
        seed: Of the picture's noise.
    """

    def __init__(self, board: Board, lens: Lens, seed: int = 0) -> None:
        self._lens = lens
        self._noise = np.random.default_rng(seed)
        self._print = board.draw(RESOLUTION)
        self._dots = round(board.square / METRES_PER_INCH * RESOLUTION) / board.square
        self._margin = round(MARGIN * board.square * self._dots)
        fine = replace(
            lens,
            width=lens.width * FINER,
            height=lens.height * FINER,
            fx=lens.fx * FINER,
            fy=lens.fy * FINER,
            cx=(lens.cx + 0.5) * FINER - 0.5,
            cy=(lens.cy + 0.5) * FINER - 0.5,
        )
        down, across = np.mgrid[: fine.height, : fine.width].astype(float)
        pixels = np.stack((across, down), axis=-1).reshape(-1, 1, 2)
        rays = cv2.undistortPoints(pixels, fine.matrix, np.array(fine.distortion))
        self._rays = np.column_stack((rays[:, 0], np.ones(len(rays)))).reshape(
            fine.height, fine.width, 3
        )

    def seen_at(
        self, rotation: NDArray[np.float64], translation: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) of the board at a pose (Rodrigues vector; m)."""
        axes, _ = cv2.Rodrigues(np.asarray(rotation, float))
        to_board = np.linalg.inv(np.column_stack((axes[:, :2], translation)))
        places = self._rays @ to_board.T
        places = places[..., :2] / places[..., 2:] * self._dots + self._margin - 0.5
        maps = places.astype(np.float32)
        fine = cv2.remap(self._print, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR, borderValue=120)
        size = (self._lens.width, self._lens.height)
        grey = cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(float)
        noisy = grey * 0.8 + 20.0 + self._noise.normal(0.0, 2.0, grey.shape)
        return np.repeat(np.clip(noisy, 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def poses(board: Board, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses all about the picture, tilted in every direction."""
    generator = np.random.default_rng(seed)
    middle = np.array([board.columns * board.square / 2, board.rows * board.square / 2, 0.0])
    found = []
    for _ in range(count):
        rotation = np.array([*generator.uniform(-0.65, 0.65, 2), generator.uniform(-0.5, 0.5)])
        distance = generator.uniform(0.38, 0.6)
        aim = np.array([*(generator.uniform(-0.22, 0.22, 2) * (1.2, 0.8) * distance), distance])
        axes, _ = cv2.Rodrigues(rotation)
        found.append((rotation, aim - axes @ middle))
    return found
