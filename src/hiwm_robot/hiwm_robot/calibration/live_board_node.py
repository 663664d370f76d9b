# SPDX-License-Identifier: Apache-2.0
"""Pictures of a board live from a topic: taken by themselves while it is carried about, and one of
the table when Enter is pressed.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
import select
import sys

import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import ExternalShutdownException
from sensor_msgs.msg import Image
from tqdm import tqdm

from hiwm_core.contract import IMAGE, Quality, Topic
from hiwm_core.error import HiwmError
from hiwm_rig.base_node import subscription
from hiwm_robot.calibration.board_pictures import NEW_PLACE, BoardPictures
from hiwm_robot.calibration.charuco import Board, Chooser, Sighting
from hiwm_robot.camera.frame_mapping import picture_of, to_rgb

ByteArray = NDArray[np.uint8]

# Of the picture's width, how little the board may move from one picture to the next to be sharp.
STILL = 0.004
NO_PICTURE = 15.0  # s


def look_live(board: Board, seen: BoardPictures, topic: str, count: int, *, table: bool) -> None:
    """Take `count` pictures of the board, and if `table` one of it on the table.

    Raises:
        HiwmError: No picture comes, or one of another size.
    """
    with _Camera(topic) as camera:
        if count:
            print(
                'Hold the board still in front of the camera: near, far, in every corner, tilted.'
            )
            _take_live(board, seen, camera, count)
        if table:
            print('Lay the board on the table, all of it in sight, and press Enter.', flush=True)
            for name, picture in camera.pictures():
                seen.take_size(name, picture)
                sighting = board.see(name, picture)
                if _entered():
                    if sighting is not None:
                        seen.take_table(sighting, picture)
                        return
                    print('The board is not seen well there; move it and press Enter.', flush=True)


def _take_live(board: Board, seen: BoardPictures, camera: _Camera, count: int) -> None:
    chooser: Chooser | None = None
    before: Sighting | None = None
    with tqdm(total=count, unit='picture') as bar:
        for name, picture in camera.pictures():
            seen.take_size(name, picture)
            chooser = chooser or Chooser(NEW_PLACE * picture.shape[1])
            sighting = board.see(name, picture)
            if (
                sighting is not None
                and before is not None
                and _moved(before, sighting) < STILL * picture.shape[1]
                and chooser.is_new(sighting)
            ):
                seen.sightings.append(sighting)
                seen.last = picture
                bar.update()
                if len(seen.sightings) == count:
                    return
            before = sighting


def _moved(before: Sighting, after: Sighting) -> float:
    """px, of the corners that both have, in the mean."""
    places = dict(zip(before.ids.tolist(), before.pixels, strict=True))
    moved = [
        float(np.linalg.norm(places[number] - pixel))
        for number, pixel in zip(after.ids.tolist(), after.pixels, strict=True)
        if number in places
    ]
    return float(np.mean(moved)) if moved else math.inf


def _entered() -> bool:
    """Whether a line was typed since the last call."""
    if not select.select([sys.stdin], [], [], 0.0)[0]:
        return False
    if not sys.stdin.readline():
        raise HiwmError('the input ended before Enter was pressed; run it in a terminal')
    return True


class _Camera:
    """A live topic, as long as the block lasts."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def __enter__(self) -> _Camera:
        rclpy.init()
        self._node = rclpy.create_node('calibrate_camera')
        self._newest: Image | None = None
        topic = Topic(self._topic, IMAGE.type, Quality(depth=1))
        subscription(self._node, topic, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _take(self, message: Image) -> None:
        self._newest = message

    def pictures(self) -> Iterator[tuple[str, ByteArray]]:
        """The newest picture, again and again. Raises HiwmError if none comes."""
        waited = 0.0
        while waited < NO_PICTURE:
            try:
                rclpy.spin_once(self._node, timeout_sec=0.5)
            except ExternalShutdownException:
                raise KeyboardInterrupt from None
            message, self._newest = self._newest, None
            if message is None:
                waited += 0.5
                continue
            waited = 0.0
            picture = picture_of(
                message.encoding,
                int(message.height),
                int(message.width),
                int(message.step),
                message.data,
            )
            stamp = message.header.stamp
            name = f'{stamp.sec}.{stamp.nanosec:09d}'
            yield name, to_rgb(picture, message.encoding).copy()
        raise HiwmError(f'no picture came on {self._topic} for {NO_PICTURE:g} s; is the camera on?')
