# SPDX-License-Identifier: Apache-2.0
"""A recorded image, small, as text that a page can hold."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE = 160  # px
QUALITY = 85


def thumbnail(image: Any) -> str:
    """A sensor_msgs/msg/Image as a data URI in JPEG; empty if it is no whole rgb8 or bgr8."""
    height, width, step = int(image.height), int(image.width), int(image.step)
    pixels: NDArray[Any] = np.frombuffer(image.data, np.uint8)
    if (
        image.encoding not in {'rgb8', 'bgr8'}
        or not height
        or not 0 < 3 * width <= step
        or pixels.size < height * step
    ):
        return ''
    pixels = pixels[: height * step].reshape(height, step)[:, : 3 * width]
    pixels = pixels.reshape(height, width, 3)
    scale = LARGEST_SIDE / max(height, width)
    if scale < 1.0:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    if image.encoding == 'rgb8':
        pixels = pixels[:, :, ::-1]
    _, packed = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(packed.tobytes()).decode()
