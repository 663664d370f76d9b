# SPDX-License-Identifier: Apache-2.0
"""Makes the task's frame of a camera's picture and shows it on the camera topics of the contract.

Image and info carry the stamp of the picture that they were made of.
"""

from __future__ import annotations

from array import array
from pathlib import Path
import sys

from ament_index_python.packages import get_package_share_directory
import numpy as np
import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from hiwm_core import contract
from hiwm_core.contract import Quality, Topic
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.task import load_task
from hiwm_rig.base_node import declare, publisher, run_node, subscription
from hiwm_robot.camera.adapter_file import read_adapter_file
from hiwm_robot.camera.camera_message import info_message, info_topic, lens_of_info
from hiwm_robot.camera.frame_mapping import FrameMapping, picture_of, size_refusal
from hiwm_robot.camera.lens import Lens

SHIPPED = 'camera.yaml'
RAW_IMAGE = '/raw/camera/color/image_raw'
PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'config': Parameter('', "the camera's file; empty: the one of this package"),
    'image_topic': Parameter(RAW_IMAGE, "the camera's pictures; its info is beside them"),
}
# Only the newest picture is worth anything.
NEWEST = Quality(depth=1)
# Of the frame, which may be black before a person is told.
LITTLE = 0.005


class CameraAdapterNode(Node):
    """See the module's text.

    Attributes:
        exit_code: 1 once a camera was refused.
    """

    def __init__(self) -> None:
        super().__init__('camera_adapter')
        self.exit_code = 0
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        file = Path(values['config']).expanduser()
        if not values['config']:
            file = Path(get_package_share_directory('hiwm_robot')) / 'config' / SHIPPED
        self._config = read_adapter_file(file)
        self._lens: Lens | None = None
        self._mapping: FrameMapping | None = None
        if self._config.lens is not None:
            self._take_lens(self._config.lens)
        image = values['image_topic']
        info = info_topic(image)
        self._image = publisher(self, contract.IMAGE)
        self._info = publisher(self, contract.CAMERA_INFO)
        subscription(self, Topic(image, contract.IMAGE.type, NEWEST), self._on_image)
        if self._config.lens is None:
            subscription(self, Topic(info, contract.CAMERA_INFO.type, NEWEST), self._on_info)
        self.get_logger().info(f"waiting for pictures of '{self._config.name}' on {image}")

    def _take_lens(self, lens: Lens) -> None:
        self._lens = lens
        mapping = FrameMapping(self._config, lens, self._task.camera)
        if mapping.outside > LITTLE:
            self.get_logger().warning(
                f"{mapping.outside:.0%} of the task's frame lie outside of the picture of "
                f"'{self._config.name}' and stay black; move the camera and calibrate it again"
            )
        self._mapping = mapping

    def _on_info(self, message: CameraInfo) -> None:
        try:
            self._check_size(int(message.width), int(message.height))
            lens = lens_of_info(message)
            if lens != self._lens:
                self._take_lens(lens)
        except HiwmError as error:
            self._refuse(error.message)

    def _on_image(self, message: Image) -> None:
        try:
            self._check_size(int(message.width), int(message.height))
            picture = picture_of(
                message.encoding,
                int(message.height),
                int(message.width),
                int(message.step),
                message.data,
            )
        except HiwmError as error:
            self._refuse(error.message)
            return
        if self._mapping is None:
            self.get_logger().warning(
                f"'{self._config.name}' shows pictures but no camera info; publish it beside them, "
                'or give the file a `lens`',
                throttle_duration_sec=5.0,
                skip_first=True,
            )
            return
        height, width, _ = self._task.frame_shape
        data = array('B', bytes(height * width * 3))
        frame = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        self._mapping.apply(picture, message.encoding, frame)
        shown = Image()
        shown.header.stamp = message.header.stamp
        shown.header.frame_id = contract.CAMERA_FRAME_ID
        shown.height, shown.width = height, width
        shown.encoding = 'rgb8'
        shown.step = width * 3
        shown.data = data
        self._image.publish(shown)
        self._info.publish(info_message(self._mapping.lens, message.header.stamp))

    def _check_size(self, width: int, height: int) -> None:
        if (width, height) != (self._config.width, self._config.height):
            raise HiwmError(size_refusal(self._config, width, height))

    def _refuse(self, sentence: str) -> None:
        """No picture of this camera can be used: end, and say why."""
        if self.exit_code:
            return
        self.exit_code = 1
        print(f'{Path(sys.argv[0]).name}: {sentence}', file=sys.stderr, flush=True)
        rclpy.try_shutdown()


def main() -> None:
    """The executable `camera_adapter`."""
    sys.exit(run_node(CameraAdapterNode))
