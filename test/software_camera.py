# SPDX-License-Identifier: Apache-2.0
"""A RealSense over a simulated table, where there is none of both.

`python -m test.software_camera FILE [ROS arguments]` shows the table of `sim_camera` to the
vendor's software device as the camera of the file would see it, and runs the driver's node on that
device and the adapter behind it: everything between the table and the task's frames, in one process
so that a busy machine has to wait for one.
"""

from __future__ import annotations

from pathlib import Path
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from hiwm_core.task import load_task
from hiwm_rig.conversion import frame_of, nanoseconds_of
from hiwm_robot.camera.adapter_file import AdapterConfig, TablePose, read_adapter_file
from hiwm_robot.camera.camera_adapter_node import CameraAdapterNode
from hiwm_robot.camera.lens import Lens
from hiwm_robot.camera.realsense_camera_node import RealSenseCameraNode
from hiwm_robot.camera.software_device import SoftwareRealSense
from hiwm_robot.camera.table_view import TableView
from hiwm_robot.sim_camera_node import SimCameraNode

TABLE = '/table/image_raw'
# As of a RealSense with the barrel of a cheap webcam, 0.9 m above the table and aslant; small,
# since everything on it is drawn by the machine that runs the tests.
CAMERA = AdapterConfig(
    'overhead',
    320,
    240,
    lens=Lens(320, 240, 302.5, 301.5, 161.0, 118.8, (0.11, -0.22, 0.0008, -0.0006, 0.05)),
    table=TablePose((0.25, -0.12, 0.06), (-0.262, -0.215, 0.88)),
)


class SoftwareCameraNode(RealSenseCameraNode):
    """The driver's node, and the hand that feeds its device."""

    def __init__(self, file: Path) -> None:
        config = read_adapter_file(file)
        self._view = TableView(config, load_task('pusht').camera)
        self._camera = SoftwareRealSense(self._view.lens)
        super().__init__(self._camera.devices)
        self.create_subscription(Image, TABLE, self._show, qos_profile_sensor_data)

    def _show(self, message: Image) -> None:
        at = nanoseconds_of(message.header.stamp) / 1e9
        self._camera.show(self._view.apply(frame_of(message)), at=at)


def parameters(arm: Path, file: Path) -> dict[str, str]:
    """What the three nodes are told."""
    return {
        'sim_camera:arm': str(arm),
        'sim_camera:image_topic': TABLE,
        'realsense_camera:camera_namespace': 'raw',
        'realsense_camera:rgb_camera.color_profile': f'{CAMERA.width}x{CAMERA.height}x30',
        'camera_adapter:config': str(file),
    }


def main() -> None:
    """Until told to stop."""
    file = Path(sys.argv[1])
    rclpy.init()
    nodes = []
    try:
        executor = SingleThreadedExecutor()
        for make in (SimCameraNode, lambda: SoftwareCameraNode(file), CameraAdapterNode):
            nodes.append(make())
            executor.add_node(nodes[-1])
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
