# SPDX-License-Identifier: Apache-2.0
"""The colour stream of a RealSense through the vendor's library, by names as realsense2_camera's.

Sensors are used directly and not the library's pipeline, which takes no software device and hides
why a stream cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_robot.camera.lens import Lens

FORMAT = 'rgb8'
PROFILE = re.compile(r'\s*(\d{1,5})\s*[x,]\s*(\d{1,5})\s*[x,]\s*(\d{1,3})\s*')
# s without a frame, and periods, after which it is looked whether the camera is still there.
SILENCE, SILENT_PERIODS = 1.0, 10.0
# s that a camera takes to start: its exposure settles first.
FIRST_SILENCE = 5.0


@dataclass(frozen=True)
class Profile:
    """What is asked of the colour stream: px, px and Hz."""

    width: int
    height: int
    rate: int

    def __str__(self) -> str:
        return f'{self.width}x{self.height}x{self.rate}'


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame.

    Attributes:
        pixels: uint8 (H, W, 3) RGB, the library's own memory.
        time: s; of the host's clock, if `is_host_time`, else of the camera's own.
        is_host_time: The library knows how the camera's clock stands to the host's.
    """

    pixels: NDArray[np.uint8]
    time: float
    is_host_time: bool


def read_profile(text: str) -> Profile:
    """A profile such as '640x480x30'. Raises ConfigurationError."""
    match = PROFILE.fullmatch(text)
    if match is None or not all(int(part) for part in match.groups()):
        raise ConfigurationError(
            f"the colour profile is '{text}'; it must be WIDTHxHEIGHTxRATE, such as 640x480x30"
        )
    width, height, rate = (int(part) for part in match.groups())
    return Profile(width, height, rate)


def connected_devices() -> list[Any]:
    """The devices that the vendor's library finds. Raises ConfigurationError without it."""
    return list(library().context().query_devices())


def library() -> Any:
    """The vendor's library. Raises ConfigurationError if it is not installed."""
    try:
        import pyrealsense2  # noqa: PLC0415  machines without a RealSense may lack it
    except ImportError as error:
        raise ConfigurationError(
            f'pyrealsense2 cannot be imported ({error}); run: python3 -m pip install pyrealsense2, '
            'or use the ROS package realsense2_camera'
        ) from error
    return pyrealsense2


class ColourStream:
    """The colour stream of one camera, which may be unplugged and come back.

    Everything is called from one thread.

    Args:
        serial: Of the camera; empty: the only one there is, and from then on that one.
        profile: What is asked of it.
        devices: What is plugged in now.

    Attributes:
        lens: Of the stream that is open.
        name: What sentences call the camera.
    """

    def __init__(
        self,
        serial: str,
        profile: Profile,
        devices: Callable[[], Sequence[Any]] = connected_devices,
    ) -> None:
        self._library = library()
        self._serial = serial
        self._profile = profile
        self._devices = devices
        self._sensor: Any = None
        self._queue: Any = None
        self._started = False
        self.name = f'RealSense {serial}'.rstrip()
        self.lens: Lens | None = None

    @property
    def is_open(self) -> bool:
        """Whether frames may come."""
        return self._sensor is not None

    def open(self) -> None:
        """Find the camera and start its stream.

        Raises:
            ConfigurationError: There is no such camera, or it has no such stream.
            HiwmError: The camera is in use, does not start, or is pulled meanwhile.
        """
        try:
            self._open()
        except RuntimeError as error:
            # The library's only kind of error, of every question to a camera that goes.
            raise HiwmError(
                f'the camera {self.name} does not start ({_reason(error)}); end other programs '
                'that use it, or plug it in anew'
            ) from error

    def _open(self) -> None:
        device = self._find()
        sensor, profile = self._choose(device)
        intrinsics = profile.as_video_stream_profile().get_intrinsics()
        queue = self._library.frame_queue(1)
        sensor.open(profile)
        try:
            sensor.start(queue)
        except RuntimeError:
            sensor.close()
            raise
        self._sensor, self._queue = sensor, queue
        self._started = False
        self.lens = _lens(intrinsics)

    def read(self) -> Picture | None:
        """The newest frame, waited for; None: none came in time, or it cannot be had."""
        assert self._queue is not None
        patience = max(SILENCE, SILENT_PERIODS / self._profile.rate)
        if not self._started:
            patience = max(patience, FIRST_SILENCE)
        try:
            found, frame = self._queue.try_wait_for_frame(round(patience * 1e3))
            if not found:
                return None
            self._started = True
            # As a NumPy array it keeps the library's frame alive.
            pixels = np.asanyarray(frame.as_video_frame().get_data())
            hardware = frame.get_frame_timestamp_domain() == (
                self._library.timestamp_domain.hardware_clock
            )
            return Picture(pixels, frame.get_timestamp() / 1e3, not hardware)
        except RuntimeError:
            return None

    def loss(self) -> str:
        """Why no frame comes, in one sentence."""
        try:
            there = {_info(self._library, device)[1] for device in self._devices()}
        except RuntimeError as error:
            return f'the camera {self.name} answers no more ({_reason(error)}); it is looked for'
        if self._serial in there:
            return f'the camera {self.name} sends no frames; it is started anew'
        return f'the camera {self.name} was unplugged; plug it in again'

    def close(self) -> None:
        """Stop the stream; nothing happens if it is closed already, or gone."""
        sensor, self._sensor, self._queue = self._sensor, None, None
        if sensor is None:
            return
        for act in (sensor.stop, sensor.close):
            try:
                act()
            except RuntimeError:
                # A camera that is gone cannot be told.
                continue

    # -- inside ----------------------------------------------------------------------------------

    def _find(self) -> Any:
        found = {}
        for device in self._devices():
            name, serial = _info(self._library, device)
            found[serial] = (name, device)
        there = ', '.join(f'{serial} ({name})' for serial, (name, _) in found.items())
        if not found:
            raise ConfigurationError(
                'no RealSense camera is there; plug it in at a USB 3 port, and see that this user '
                'may use it (udev rules of librealsense)'
            )
        if self._serial and self._serial not in found:
            raise ConfigurationError(
                f'there is no RealSense with the serial number {self._serial}; there is: {there}'
            )
        if not self._serial and len(found) > 1:
            raise ConfigurationError(
                f'there are {len(found)} RealSense cameras; name one by serial_no: {there}'
            )
        self._serial = self._serial or next(iter(found))
        name, device = found[self._serial]
        self.name = f'{name} {self._serial}'
        return device

    def _choose(self, device: Any) -> tuple[Any, Any]:
        """The sensor and its stream that is asked for."""
        colour, wanted = [], self._profile
        form = getattr(self._library.format, FORMAT)
        for sensor in device.query_sensors():
            for profile in sensor.get_stream_profiles():
                if profile.stream_type() != self._library.stream.color or profile.format() != form:
                    continue
                video = profile.as_video_stream_profile()
                has = Profile(video.width(), video.height(), video.fps())
                if has == wanted:
                    return sensor, profile
                colour.append(has)
        if not colour:
            raise ConfigurationError(f'the camera {self.name} has no colour stream in {FORMAT}')
        known = sorted(colour, key=lambda one: (one.width, one.height, one.rate))
        raise ConfigurationError(
            f'the camera {self.name} has no colour profile {wanted}; it has: '
            f'{", ".join(dict.fromkeys(map(str, known)))} (fewer at a USB 2 port)'
        )


class HostTime:
    """Stamps on the host's clock for frames that carry another one.

    The camera's clock is set against the host's when a frame comes with less delay than any before.
    """

    def __init__(self) -> None:
        self._offset = float('inf')

    def stamp(self, picture: Picture, now: float) -> float:
        """s on the host's clock; `now` is when the frame came."""
        if picture.is_host_time:
            return picture.time
        self._offset = min(self._offset, now - picture.time)
        return picture.time + self._offset


def _info(library: Any, device: Any) -> tuple[str, str]:
    """Name and serial number."""
    keys = library.camera_info.name, library.camera_info.serial_number
    name, serial = (device.get_info(key) if device.supports(key) else '' for key in keys)
    return str(name), str(serial)


def _lens(intrinsics: Any) -> Lens:
    """As realsense2_camera tells it: the five coefficients under the name plumb_bob."""
    return Lens(
        int(intrinsics.width),
        int(intrinsics.height),
        float(intrinsics.fx),
        float(intrinsics.fy),
        float(intrinsics.ppx),
        float(intrinsics.ppy),
        tuple(float(value) for value in intrinsics.coeffs),
    )


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].strip().rstrip('!.') if str(error) else 'no reason given'
