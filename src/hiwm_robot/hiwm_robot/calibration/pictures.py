# SPDX-License-Identifier: Apache-2.0
"""Pictures to calibrate with: a folder of image files, or the image messages of a bag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hiwm_core.bag_reader import METADATA_NAME, BagReader
from hiwm_core.contract import IMAGE, Topic
from hiwm_core.error import HiwmError
from hiwm_robot.camera.frame_mapping import picture_of, to_rgb

ByteArray = NDArray[np.uint8]

ENDINGS = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff')


def is_bag(path: Path) -> bool:
    """Whether a folder is a bag."""
    return (path / METADATA_NAME).is_file() or bool(list(path.glob('*.mcap')))


def read_folder(path: Path) -> Iterator[tuple[str, ByteArray]]:
    """Name and pixels uint8 (H, W, 3) RGB of every image file, by name.

    Raises:
        HiwmError: There is no such folder, nothing in it, or a file cannot be read.
    """
    if not path.is_dir():
        raise HiwmError(f'there is no folder {path}; name a folder of images or a bag')
    files = sorted(each for each in path.iterdir() if each.suffix.lower() in ENDINGS)
    if not files:
        raise HiwmError(f'{path} holds no image files ({", ".join(ENDINGS)})')
    for file in files:
        pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)
        if pixels is None:
            raise HiwmError(f'{file} cannot be read as an image; remove it')
        yield file.name, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def read_bag(path: Path, topic: str) -> Iterator[tuple[str, ByteArray]]:
    """Stamp and pixels uint8 (H, W, 3) RGB of every image on a topic, in order.

    Raises:
        HiwmError: The bag is damaged, or has no such topic.
    """
    with BagReader(path) as bag:
        if topic not in bag.counts():
            there = ', '.join(sorted(bag.counts()))
            raise HiwmError(f'the bag {path} has no topic {topic}; it has: {there}')
        images = Topic(topic, IMAGE.type, IMAGE.quality)
        for _, message in bag.messages([images]):
            stamp = message.header.stamp
            yield (
                f'{stamp.sec}.{stamp.nanosec:09d}',
                to_rgb(
                    picture_of(
                        message.encoding,
                        int(message.height),
                        int(message.width),
                        int(message.step),
                        message.data,
                    ),
                    message.encoding,
                ),
            )
