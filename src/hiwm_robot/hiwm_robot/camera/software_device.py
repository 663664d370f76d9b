# SPDX-License-Identifier: Apache-2.0
"""A RealSense that the vendor's own library makes up, its `software_device`, fed by hand.

What the bus emulator is to the arm: the driver runs as on a camera where there is none.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_robot.camera.lens import Lens
from hiwm_robot.camera.realsense import library

BYTES_PER_PIXEL = 3


class SoftwareRealSense:
    """A device with one colour sensor.

    Args:
        lens: Of its colour stream, at one size.
        rates: Hz, one profile each.
        serial: Its serial number.

    Attributes:
        device: As the library gives a real one; empty `plugged_in` to unplug it.
        plugged_in: What a look for devices finds.
    """

    def __init__(self, lens: Lens, rates: tuple[int, ...] = (30,), serial: str = '0042') -> None:
        self._lens = lens
        rs = self._library = library()
        self.device = rs.software_device()
        self.device.register_info(rs.camera_info.name, 'Software D435')
        self.device.register_info(rs.camera_info.serial_number, serial)
        self._sensor = self.device.add_sensor('RGB Camera')
        self._profiles = {
            rate: self._sensor.add_video_stream(self._stream(rate, number))
            for number, rate in enumerate(rates)
        }
        self.plugged_in = [self.device]
        self._number = 0

    def devices(self) -> list[Any]:
        """What is plugged in."""
        return list(self.plugged_in)

    def show(self, picture: NDArray[np.uint8], at: float | None = None, rate: int = 30) -> None:
        """The camera takes a picture uint8 (H, W, 3) RGB at a time (s), or now."""
        self._number += 1
        rs = self._library
        frame = rs.software_video_frame()
        frame.pixels = np.ascontiguousarray(picture)
        frame.stride = self._lens.width * BYTES_PER_PIXEL
        frame.bpp = BYTES_PER_PIXEL
        frame.timestamp = (time.time() if at is None else at) * 1e3
        frame.domain = rs.timestamp_domain.system_time
        frame.frame_number = self._number
        frame.profile = self._profiles[rate].as_video_stream_profile()
        self._sensor.on_video_frame(frame)

    def _stream(self, rate: int, number: int) -> Any:
        rs = self._library
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = self._lens.width, self._lens.height
        intrinsics.fx, intrinsics.fy = self._lens.fx, self._lens.fy
        intrinsics.ppx, intrinsics.ppy = self._lens.cx, self._lens.cy
        intrinsics.model = rs.distortion.brown_conrady
        intrinsics.coeffs = list(self._lens.distortion)
        stream = rs.video_stream()
        stream.type, stream.index, stream.uid = rs.stream.color, 0, number
        stream.width, stream.height, stream.fps = self._lens.width, self._lens.height, rate
        stream.bpp, stream.fmt = BYTES_PER_PIXEL, rs.format.rgb8
        stream.intrinsics = intrinsics
        return stream
