# SPDX-License-Identifier: Apache-2.0
"""A lens as `sensor_msgs/CameraInfo`, and back."""

from __future__ import annotations

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from hiwm_core.contract import CAMERA_FRAME_ID, CAMERA_INFO
from hiwm_robot.camera.lens import Lens, lens_of

# ROS's plumb_bob has five, also where all are zero.
LEAST_COEFFICIENTS = 5


def info_message(lens: Lens, stamp: Time) -> CameraInfo:
    """The camera info of a lens, in the form of the RealSense driver."""
    message = CameraInfo()
    message.header.stamp = stamp
    message.header.frame_id = CAMERA_FRAME_ID
    message.width, message.height = lens.width, lens.height
    message.distortion_model = lens.model
    zeros = [0.0] * (LEAST_COEFFICIENTS - len(lens.distortion))
    message.d = [float(value) for value in lens.distortion] + zeros
    message.k = [float(value) for value in lens.matrix.ravel()]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    fx, fy, cx, cy = float(lens.fx), float(lens.fy), float(lens.cx), float(lens.cy)
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def lens_of_info(message: CameraInfo) -> Lens:
    """The lens that a camera says it has. Raises HiwmError if it says none that is known."""
    return lens_of(
        int(message.width),
        int(message.height),
        list(message.k),
        list(message.d),
        str(message.distortion_model),
    )


def info_topic(image_topic: str) -> str:
    """Where the info of a camera's pictures is published: beside them."""
    return f'{image_topic.rpartition("/")[0]}/{CAMERA_INFO.name.rpartition("/")[2]}'
