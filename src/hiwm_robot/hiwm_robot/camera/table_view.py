# SPDX-License-Identifier: Apache-2.0
"""What a camera would see of a frame that lies on its table: the inverse of `frame_mapping`.

It stands in for a camera where there is none: a simulated table is shown through the lens and from
the place of a camera's file.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError
from hiwm_core.task_parts import Camera
from hiwm_robot.camera.adapter_file import AdapterConfig
from hiwm_robot.camera.frame_mapping import fixed_point, middle_crop
from hiwm_robot.camera.lens import Lens

FloatArray = NDArray[np.float64]
ByteArray = NDArray[np.uint8]

# Beyond the table's picture.
SURROUNDINGS = (90, 90, 90)


class TableView:
    """From the task's frame to a camera's picture.

    Args:
        config: The camera's file; it needs a lens.
        frame: The task's camera.
        resolution: Pixels of the frame that is shown for each of the task's.

    Attributes:
        lens: Of the camera.

    Raises:
        ConfigurationError: The file has no lens.
    """

    def __init__(self, config: AdapterConfig, frame: Camera, resolution: int = 1) -> None:
        if config.lens is None:
            raise ConfigurationError(
                f"the file of the camera '{config.name}' has no lens to look through; add one"
            )
        self.lens = config.lens
        places = self._places(config, self.lens, frame)
        self._maps = fixed_point(places * resolution - 0.5)

    def apply(self, frame: ByteArray) -> ByteArray:
        """The picture uint8 (h, w, 3) of a frame uint8 (H, W, 3)."""
        whole, fraction = self._maps
        picture = cv2.remap(
            frame,
            whole,
            fraction,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=SURROUNDINGS,
        )
        return np.asarray(picture, np.uint8)

    @staticmethod
    def _places(config: AdapterConfig, lens: Lens, frame: Camera) -> FloatArray:
        """Where in the frame, in px from its top left edge, each pixel of the camera looks."""
        across, down = np.arange(lens.width, dtype=float), np.arange(lens.height, dtype=float)
        grid = np.stack(np.meshgrid(across, down), axis=-1)
        if config.table is None:
            crop = config.crop or middle_crop(config, frame)
            pixels = _straight(lens, grid) if config.undistort else grid
            origin, size = np.array([crop.x, crop.y]), np.array([crop.width, crop.height])
            return (pixels + 0.5 - origin) * (frame.width, frame.height) / size
        rotation, _ = cv2.Rodrigues(np.array(config.table.rotation))
        translation = np.array(config.table.translation)
        pixels = _straight(lens, grid)
        rays = np.dstack(
            (
                (pixels[..., 0] - lens.cx) / lens.fx,
                (pixels[..., 1] - lens.cy) / lens.fy,
                np.ones(grid.shape[:2]),
            )
        )
        # In the table's frame; the table is where z is 0.
        rays, eye = rays @ rotation, -translation @ rotation
        with np.errstate(divide='ignore', invalid='ignore'):
            distance = -eye[2] / rays[..., 2]
        distance = np.where(np.isfinite(distance) & (distance > 0.0), distance, -1e6)
        places = eye[:2] + distance[..., None] * rays[..., :2]
        return np.clip(places / frame.metres_per_pixel, -30.0, frame.width + frame.height + 30.0)


def _straight(lens: Lens, pixels: FloatArray) -> FloatArray:
    """Pixels (H, W, 2) as a lens without distortion would show them."""
    if not any(lens.distortion):
        return pixels
    undone = cv2.undistortPoints(
        np.ascontiguousarray(pixels.reshape(-1, 1, 2)),
        lens.matrix,
        np.array(lens.distortion),
        P=lens.matrix,
    )
    return np.asarray(undone, np.float64).reshape(pixels.shape)
