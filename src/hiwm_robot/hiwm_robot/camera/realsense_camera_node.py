# SPDX-License-Identifier: Apache-2.0
"""The colour camera of a RealSense where there is no realsense2_camera: the same topics, names,
parameters and qualities of service.

A thread reads frames and publishes them; what is unplugged is opened again when it is back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import sys
import threading
import time
from typing import Any

import rclpy
from rclpy.node import Node

from hiwm_core.contract import CAMERA_INFO, IMAGE, Topic
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_rig.base_node import FAILED, SHUTDOWN_ERRORS, declare, publisher, run_node
from hiwm_rig.conversion import image_message, time_message
from hiwm_rig.wake import Wake
from hiwm_robot.camera.camera_message import info_message
from hiwm_robot.camera.realsense import ColourStream, HostTime, connected_devices, read_profile

PARAMETERS = {
    'camera_namespace': Parameter('camera', 'first part of the topics'),
    'camera_name': Parameter('camera', 'second part of the topics'),
    'serial_no': Parameter('', 'which camera; empty: the only one there is'),
    'rgb_camera.color_profile': Parameter('640x480x30', 'WIDTHxHEIGHTxRATE, px and Hz'),
}
REOPEN_PERIOD = 1.0  # s between looks for a camera that is gone
LONGEST_END = 5.0  # s


class RealSenseCameraNode(Node):
    """See the module's text.

    Args:
        devices: What is plugged in now.

    Attributes:
        exit_code: FAILED once the camera is read no more.
    """

    def __init__(self, devices: Callable[[], Sequence[Any]] = connected_devices) -> None:
        super().__init__('realsense_camera')
        self.exit_code = 0
        values = declare(self, PARAMETERS)
        profile = read_profile(values['rgb_camera.color_profile'])
        self._stream = ColourStream(values['serial_no'].lstrip('_'), profile, devices)
        self._stream.open()
        self._time = HostTime()
        root = f'/{values["camera_namespace"]}/{values["camera_name"]}/color'
        self._image = publisher(self, Topic(f'{root}/image_raw', IMAGE.type, IMAGE.quality))
        self._info = publisher(
            self, Topic(f'{root}/camera_info', CAMERA_INFO.type, CAMERA_INFO.quality)
        )
        self._said = ''
        self._end = Wake(self, rclpy.try_shutdown)
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, name='realsense', daemon=True)
        self._reader.start()
        self.get_logger().info(f'{self._stream.name} shows {profile} on {root}')

    def destroy_node(self) -> None:
        """End the thread, which closes the camera, before anything else goes."""
        if hasattr(self, '_reader'):
            self._ended.set()
            self._reader.join(LONGEST_END)
        super().destroy_node()

    # -- in the thread ---------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while not self._ended.is_set():
                if self._stream.is_open:
                    self._take_frame()
                else:
                    self._reopen()
        except Exception as error:
            goes = self._ended.is_set() or not self.context.ok()
            if goes and isinstance(error, SHUTDOWN_ERRORS):
                # The node goes while a frame comes.
                return
            # A node that lives on without its camera would be taken for one that is there.
            self.exit_code = FAILED
            self.get_logger().error(f'the camera is read no more: {error!r}; start it again')
            self._end.call()
        finally:
            self._stream.close()

    def _take_frame(self) -> None:
        picture = self._stream.read()
        if self._ended.is_set():
            return
        if picture is None:
            self._say(self._stream.loss())
            self._stream.close()
            return
        if self._said:
            self._said = ''
            self.get_logger().info(f'{self._stream.name} shows frames again')
        assert self._stream.lens is not None
        stamp = time_message(round(self._time.stamp(picture, time.time()) * 1e9))
        self._image.publish(image_message(picture.pixels, stamp))
        self._info.publish(info_message(self._stream.lens, stamp))

    def _reopen(self) -> None:
        try:
            self._stream.open()
        except HiwmError as error:
            self._say(error.message)
            self._ended.wait(REOPEN_PERIOD)

    def _say(self, sentence: str) -> None:
        """Each sentence once."""
        if sentence != self._said:
            self._said = sentence
            self.get_logger().error(sentence)


def main() -> None:
    """The executable `realsense_camera`."""
    sys.exit(run_node(RealSenseCameraNode))
