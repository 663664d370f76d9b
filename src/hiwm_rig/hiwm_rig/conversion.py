# SPDX-License-Identifier: Apache-2.0
"""Messages from arrays and arrays from messages, with explicit types and no needless copies."""

from __future__ import annotations

from collections.abc import Sequence

from builtin_interfaces.msg import Time
from hiwm_msgs.msg import Action as ActionMessage
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState

from hiwm_core.action import Action, Source, read_values
from hiwm_core.alignment import pixels_of
from hiwm_core.contract import CAMERA_FRAME_ID
from hiwm_core.error import HiwmError
from hiwm_core.task import Task
from hiwm_core.task_parts import Camera


def time_message(nanoseconds: int) -> Time:
    """A stamp from nanoseconds since the epoch of the clock in use."""
    return Time(sec=nanoseconds // 1_000_000_000, nanosec=nanoseconds % 1_000_000_000)


def nanoseconds_of(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def image_message(frame: NDArray[np.uint8], stamp: Time) -> Image:
    """An rgb8 image from uint8 (H, W, 3)."""
    message = Image()
    message.header.stamp = stamp
    message.header.frame_id = CAMERA_FRAME_ID
    message.height, message.width = int(frame.shape[0]), int(frame.shape[1])
    message.encoding = 'rgb8'
    message.is_bigendian = 0
    message.step = int(frame.shape[1]) * 3
    # The message's own array takes the bytes at once; assigning any sequence would iterate it.
    message.data.frombytes(np.ascontiguousarray(frame).data.cast('B'))
    return message


def frame_of(message: Image) -> NDArray[np.uint8]:
    """The pixels of an 8-bit colour image as uint8 (H, W, 3) RGB, C-contiguous.

    A view of the message where that is rgb8 with dense rows, else a copy.

    Raises:
        HiwmError: Another encoding, no pixels, or fewer bytes than the message's size asks for.
    """
    return np.ascontiguousarray(
        pixels_of(
            message.encoding,
            int(message.height),
            int(message.width),
            int(message.step),
            message.data,
        )
    )


def camera_info_message(camera: Camera, stamp: Time) -> CameraInfo:
    """The intrinsics of the task's camera, in the form of the RealSense driver (plumb_bob)."""
    message = CameraInfo()
    message.header.stamp = stamp
    message.header.frame_id = CAMERA_FRAME_ID
    message.width, message.height = camera.width, camera.height
    message.distortion_model = 'plumb_bob'
    message.d = [0.0] * 5
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def joint_message(names: Sequence[str], positions: NDArray[np.float64], stamp: Time) -> JointState:
    """Joint positions in their units."""
    message = JointState()
    message.header.stamp = stamp
    message.name = list(names)
    message.position = [float(value) for value in positions]
    return message


def joints_of(task: Task, message: JointState) -> NDArray[np.float64]:
    """The task's joints (J,) from a state message, matched by name.

    Raises:
        HiwmError: A joint is missing, or its position is not finite.
    """
    by_name = dict(zip(message.name, message.position, strict=False))
    missing = [name for name in task.joint_names if name not in by_name]
    if missing:
        raise HiwmError(
            f'a joint state lacks {", ".join(missing)}; it has {", ".join(message.name)}'
        )
    joints = np.array([by_name[name] for name in task.joint_names], dtype=np.float64)
    if not np.isfinite(joints).all():
        raise HiwmError('a joint state has a position that is not finite')
    return joints


def action_message(task: Task, action: Action, stamp: Time) -> ActionMessage:
    """The message of an action."""
    message = ActionMessage()
    message.header.stamp = stamp
    message.source = int(action.source)
    message.device = action.device
    message.seq = int(action.seq)
    message.names = list(task.action_names)
    message.values = [float(value) for value in action.values]
    message.epoch = int(action.epoch)
    message.observation_step = int(action.step)
    message.deadman = bool(action.deadman)
    message.idle = bool(action.idle)
    message.spread = float(action.spread)
    return message


def action_of(task: Task, message: ActionMessage) -> Action:
    """The action of a message, in the task's order.

    Raises:
        HiwmError: Wrong names, a wrong length, or a value that is not finite.
    """
    return Action(
        values=read_values(task, message.names, message.values),
        source=Source(message.source) if message.source in set(Source) else Source.NONE,
        epoch=int(message.epoch),
        step=int(message.observation_step),
        device=str(message.device),
        seq=int(message.seq),
        deadman=bool(message.deadman),
        idle=bool(message.idle),
        spread=float(message.spread),
    )
