# SPDX-License-Identifier: Apache-2.0
"""A camera's picture to the task's frame in one pass: undistorted, cropped or seen from right
above, and resized.

Where each pixel of the frame comes from is computed once. A frame that is smaller than what it
shows is sampled several times a pixel and averaged, so that fine patterns do not flicker.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task_parts import Camera
from hiwm_robot.camera.adapter_file import AdapterConfig, Crop
from hiwm_robot.camera.lens import Lens

FloatArray = NDArray[np.float64]
ByteArray = NDArray[np.uint8]

# Encodings of 8-bit colour: channels, and OpenCV's conversion to RGB.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    'rgb8': (3, None),
    'bgr8': (3, cv2.COLOR_BGR2RGB),
    'rgba8': (4, cv2.COLOR_RGBA2RGB),
    'bgra8': (4, cv2.COLOR_BGRA2RGB),
    'mono8': (1, cv2.COLOR_GRAY2RGB),
}
MOST_SAMPLES = 8  # a side of each pixel of the frame


def picture_of(encoding: str, height: int, width: int, step: int, data: Any) -> ByteArray:
    """The pixels of an image message as uint8 (H, W) or (H, W, C), a view of its data.

    Args:
        step: Bytes from one row to the next.
        data: A buffer.

    Raises:
        HiwmError: Another encoding, no pixels, or fewer bytes than the message's size asks for.
    """
    if encoding not in ENCODINGS:
        raise HiwmError(
            f"an image has the encoding '{encoding}'; set the camera to one of: "
            f'{", ".join(ENCODINGS)}'
        )
    channels, _ = ENCODINGS[encoding]
    if height < 1 or width < 1 or step < width * channels or len(data) < height * step:
        raise HiwmError(
            f'an image of {width}x{height} has {len(data)} bytes in rows of {step}; that is too '
            f'few for {encoding}'
        )
    rows = np.frombuffer(data, np.uint8, count=height * step).reshape(height, step)
    pixels = rows[:, : width * channels]
    return pixels if channels == 1 else pixels.reshape(height, width, channels)


def to_rgb(picture: ByteArray, encoding: str) -> ByteArray:
    """A picture as uint8 (H, W, 3) RGB; the same array where it is that already."""
    _, conversion = ENCODINGS[encoding]
    if conversion is None:
        return picture
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), conversion), np.uint8)


class FrameMapping:
    """From one camera to one task's frame.

    Args:
        config: The camera's file.
        lens: Its intrinsics, of the size in the file.
        frame: The task's camera.

    Attributes:
        lens: Of the frame: what its camera info says.
        outside: Share of the frame that lies outside of the camera's picture, and stays black.
        samples: A side of each pixel of the frame.

    Raises:
        ConfigurationError: Nothing of the frame is in the camera's picture.
    """

    def __init__(self, config: AdapterConfig, lens: Lens, frame: Camera) -> None:
        self._config = config
        self._size = (frame.width, frame.height)
        self._frame = frame
        self._input = lens
        self._crop = config.crop or middle_crop(config, frame)
        self.lens = self._make_lens()
        once = self._sources(1)
        self.samples = _samples(once)
        limit = np.array([lens.width, lens.height]) - 0.5
        inside = ((once >= -0.5) & (once <= limit)).all(axis=-1)
        self.outside = 1.0 - float(inside.mean())
        if not inside.any():
            raise ConfigurationError(
                f"nothing of the task's frame is in the picture of the camera '{config.name}'; "
                'calibrate it again'
            )
        self._maps = fixed_point(self._sources(self.samples))
        self._fine: dict[int, ByteArray] = {}
        self._coarse: dict[int, ByteArray] = {}

    def apply(self, picture: ByteArray, encoding: str, frame: ByteArray) -> None:
        """Fill the task's frame uint8 (H, W, 3) RGB in from a picture of the camera.

        Raises:
            HiwmError: The picture has another size than the file says.
        """
        height, width = picture.shape[:2]
        if (width, height) != (self._config.width, self._config.height):
            raise HiwmError(size_refusal(self._config, width, height))
        channels, conversion = ENCODINGS[encoding]
        target, mapped = frame, frame
        if conversion is not None:
            target = mapped = self._buffer(self._coarse, channels, 1)
        if self.samples > 1:
            mapped = self._buffer(self._fine, channels, self.samples)
        whole, fraction = self._maps
        cv2.remap(
            picture,
            whole,
            fraction,
            cv2.INTER_LINEAR,
            dst=mapped,
            borderMode=cv2.BORDER_CONSTANT,
        )
        if mapped is not target:
            cv2.resize(mapped, self._size, dst=target, interpolation=cv2.INTER_AREA)
        if conversion is not None:
            cv2.cvtColor(target, conversion, dst=frame)

    def _buffer(self, kept: dict[int, ByteArray], channels: int, samples: int) -> ByteArray:
        if channels not in kept:
            width, height = self._size
            shape = (height * samples, width * samples)
            kept[channels] = np.empty(shape if channels == 1 else (*shape, channels), np.uint8)
        return kept[channels]

    def _sources(self, samples: int) -> FloatArray:
        """Pixels of the camera (H * samples, W * samples, 2) that the frame's samples show."""
        width, height = self._size
        # Pixels from the frame's top left edge.
        across = (np.arange(width * samples) + 0.5) / samples
        down = (np.arange(height * samples) + 0.5) / samples
        grid = np.stack(np.meshgrid(across, down), axis=-1)
        config, lens = self._config, self._input
        if config.table is not None:
            places = grid.reshape(-1, 2) * self._frame.metres_per_pixel
            points = np.column_stack((places, np.zeros(len(places))))
            rotation, translation = config.table.rotation, config.table.translation
            pixels = lens.project(points, np.array(rotation), np.array(translation))
            return pixels.reshape(grid.shape)
        crop = self._crop
        scale = np.array([crop.width / width, crop.height / height])
        pixels = np.array([crop.x, crop.y]) + grid * scale - 0.5
        if not (config.undistort and any(lens.distortion)):
            return pixels
        rays = (pixels.reshape(-1, 2) - (lens.cx, lens.cy)) / (lens.fx, lens.fy)
        points = np.column_stack((rays, np.ones(len(rays))))
        return lens.project(points, np.zeros(3), np.zeros(3)).reshape(grid.shape)

    def _make_lens(self) -> Lens:
        width, height = self._size
        if self._config.table is not None:
            frame = self._frame
            return Lens(width, height, frame.fx, frame.fy, frame.cx, frame.cy)
        lens, crop = self._input, self._crop
        across, down = width / crop.width, height / crop.height
        return Lens(
            width,
            height,
            fx=lens.fx * across,
            fy=lens.fy * down,
            cx=(lens.cx + 0.5 - crop.x) * across - 0.5,
            cy=(lens.cy + 0.5 - crop.y) * down - 0.5,
            distortion=() if self._config.undistort else lens.distortion,
        )


def size_refusal(config: AdapterConfig, width: int, height: int) -> str:
    """What a person is told where a camera gives another size than its file says."""
    return (
        f"the camera '{config.name}' gives {width}x{height} px, its file says "
        f'{config.width}x{config.height}; set the camera to that, or calibrate it at its size'
    )


def fixed_point(sources: FloatArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """The maps of `cv2.remap` for places (H, W, 2) in px; in fixed point it is twice as fast."""
    across, down = (sources[..., axis].astype(np.float32) for axis in (0, 1))
    whole, fraction = cv2.convertMaps(across, down, cv2.CV_16SC2)
    return np.asarray(whole), np.asarray(fraction)


def _samples(sources: FloatArray) -> int:
    """How many samples a side a pixel of the frame needs, so that none of the camera's is left out.

    By the median, since a strong distortion may fold the picture over at its rim.
    """
    differences = (np.diff(sources, axis=axis) for axis in (0, 1))
    steps = [np.median(np.linalg.norm(each, axis=-1)) for each in differences if each.size]
    return min(max(math.ceil(max(steps, default=1.0) - 1e-6), 1), MOST_SAMPLES)


def middle_crop(config: AdapterConfig, frame: Camera) -> Crop:
    """The largest part in the middle of the picture that has the frame's proportions."""
    scale = min(config.width / frame.width, config.height / frame.height)
    width, height = frame.width * scale, frame.height * scale
    return Crop((config.width - width) / 2, (config.height - height) / 2, width, height)
