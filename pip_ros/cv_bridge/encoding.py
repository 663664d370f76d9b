# SPDX-License-Identifier: Apache-2.0
"""Image encodings: depth and channels of each, and the conversions between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
GENERIC = re.compile(r'(8U|8S|16U|16S|32S|32F|64F)(?:C([1-4]))?')
DEPTHS: dict[str, type[np.generic]] = {
    '8U': np.uint8,
    '8S': np.int8,
    '16U': np.uint16,
    '16S': np.int16,
    '32S': np.int32,
    '32F': np.float32,
    '64F': np.float64,
}
CV_DEPTHS = {
    np.dtype(np.uint8): cv2.CV_8U,
    np.dtype(np.int8): cv2.CV_8S,
    np.dtype(np.uint16): cv2.CV_16U,
    np.dtype(np.int16): cv2.CV_16S,
    np.dtype(np.int32): cv2.CV_32S,
    np.dtype(np.float32): cv2.CV_32F,
    np.dtype(np.float64): cv2.CV_64F,
}
# Colour encodings: colour space and depth.
COLOURS = {
    'mono8': ('mono', '8U'),
    'bgr8': ('bgr', '8U'),
    'rgb8': ('rgb', '8U'),
    'bgra8': ('bgra', '8U'),
    'rgba8': ('rgba', '8U'),
    'mono16': ('mono', '16U'),
    'bgr16': ('bgr', '16U'),
    'rgb16': ('rgb', '16U'),
    'bgra16': ('bgra', '16U'),
    'rgba16': ('rgba', '16U'),
}
CHANNELS = {'mono': 1, 'bgr': 3, 'rgb': 3, 'bgra': 4, 'rgba': 4}
CODES: dict[tuple[str, str], int] = {
    (source, target): getattr(cv2, f'COLOR_{source}2{target}'.replace('mono', 'gray').upper())
    for source in CHANNELS
    for target in CHANNELS
    if source != target
}


class CvBridgeError(TypeError):
    """An image cannot be converted; the sentence says which and why."""


@dataclass(frozen=True)
class Encoding:
    """What an encoding's name means; `space` is empty for one without colours, such as '16UC1'."""

    name: str
    dtype: np.dtype[np.generic]
    channels: int
    space: str


@cache
def parse_encoding(name: str) -> Encoding:
    """Return the meaning of an encoding's name; raises CvBridgeError for an unknown one."""
    if name in COLOURS:
        space, depth = COLOURS[name]
        return Encoding(name, np.dtype(DEPTHS[depth]), CHANNELS[space], space)
    if match := GENERIC.fullmatch(name):
        return Encoding(name, np.dtype(DEPTHS[match[1]]), int(match[2] or 1), '')
    raise CvBridgeError(
        f"unsupported image encoding '{name}'; supported are {', '.join(COLOURS)}, "
        "and depths with channels such as '16UC1' or '32FC1'"
    )


def convert(image: Image, source: Encoding, target: Encoding) -> Image:
    """Convert between two encodings.

    Between colours the 8-bit and 16-bit ranges are scaled onto each other; other depths are
    converted value by value, saturating. Raises CvBridgeError where the conversion has no meaning.
    """
    if source == target:
        return image
    if not source.space and target.space:
        raise CvBridgeError(
            f'[{source.name}] is not a color format, but [{target.name}] is; '
            'the conversion does not make sense'
        )
    if source.space and target.space:
        if source.space != target.space:
            image = cv2.cvtColor(image, CODES[source.space, target.space])
    elif source.channels != target.channels:
        raise CvBridgeError(
            f'[{source.name}] and [{target.name}] have different numbers of channels; '
            'the conversion does not make sense'
        )
    if source.dtype == target.dtype:
        return image
    scale = 1.0
    if (source.dtype, target.dtype) == (np.dtype(np.uint8), np.dtype(np.uint16)):
        scale = 65535.0 / 255.0
    elif (source.dtype, target.dtype) == (np.dtype(np.uint16), np.dtype(np.uint8)):
        scale = 255.0 / 65535.0
    return np.asarray(cv2.multiply(image, np.full(4, scale), dtype=CV_DEPTHS[target.dtype]))
