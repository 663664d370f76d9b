# SPDX-License-Identifier: Apache-2.0
"""Arrays go through messages unchanged, and messages that lie are refused."""

from __future__ import annotations

from array import array

from hiwm_msgs.msg import Action as ActionMessage
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, Image, JointState

from hiwm_core.action import Action, Source
from hiwm_core.error import HiwmError
from hiwm_core.task import Task
from hiwm_rig.conversion import (
    action_message,
    action_of,
    camera_info_message,
    frame_of,
    image_message,
    joint_message,
    joints_of,
    nanoseconds_of,
    time_message,
)

STAMP = time_message(1_234_567_890_123_456_789)
FRAME = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def test_a_stamp_keeps_its_nanoseconds() -> None:
    for nanoseconds in (0, 1, 999_999_999, 1_000_000_000, 1_234_567_890_123_456_789):
        assert nanoseconds_of(time_message(nanoseconds)) == nanoseconds


def test_a_frame_is_the_same_on_the_other_side() -> None:
    message = image_message(FRAME, STAMP)
    received = deserialize_message(serialize_message(message), Image)
    assert (received.encoding, received.step, received.is_bigendian) == ('rgb8', 21, 0)
    assert (received.height, received.width) == (5, 7)
    assert received.header.frame_id == 'camera_color_optical_frame'
    assert nanoseconds_of(received.header.stamp) == nanoseconds_of(STAMP)
    assert np.array_equal(frame_of(received), FRAME)


def test_a_frame_of_any_memory_layout_is_sent_as_it_looks() -> None:
    for seen in (FRAME[:, ::-1], FRAME[::2], np.asfortranarray(FRAME)):
        assert np.array_equal(frame_of(image_message(seen, STAMP)), seen)


def test_dense_rgb_is_read_without_a_copy() -> None:
    message = image_message(FRAME, STAMP)
    assert np.shares_memory(frame_of(message), np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
@pytest.mark.parametrize('padding', [0, 1, 11])
def test_padded_rows_and_other_channel_orders_are_read(encoding: str, padding: int) -> None:
    rows = np.full((5, 21 + padding), 77, np.uint8)
    pixels = FRAME if encoding == 'rgb8' else FRAME[:, :, ::-1]
    rows[:, :21] = pixels.reshape(5, 21)
    message = image_message(FRAME, STAMP)
    message.encoding, message.step = encoding, 21 + padding
    message.data = array('B', rows.tobytes())
    frame = frame_of(message)
    assert np.array_equal(frame, FRAME)
    assert frame.flags.c_contiguous
    assert frame.shape == (5, 7, 3)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'encoding': 'mono8'}, "has the encoding 'mono8'; rgb8 or bgr8 is needed"),
        ({'encoding': ''}, "has the encoding ''"),
        ({'data': array('B', bytes(104))}, 'of 7x5 has 104 bytes in rows of 21; that is too few'),
        ({'data': array('B')}, 'has 0 bytes'),
        ({'step': 20}, 'in rows of 20'),
        ({'step': 0}, 'in rows of 0'),
        ({'height': 6}, 'of 7x6 has 105 bytes'),
        ({'height': 2**32 - 1}, 'too few'),
        ({'height': 0, 'data': array('B')}, 'of 7x0 has no pixels'),
        ({'width': 0, 'step': 0}, 'of 0x5 has no pixels'),
    ],
)
def test_an_image_that_lies_is_refused(changes: dict[str, object], sentence: str) -> None:
    message = image_message(FRAME, STAMP)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(HiwmError, match=sentence):
        frame_of(message)


def test_the_camera_is_described_as_the_driver_does(task: Task) -> None:
    sent = camera_info_message(task.camera, STAMP)
    info = deserialize_message(serialize_message(sent), CameraInfo)
    camera = task.camera
    assert (info.width, info.height) == (camera.width, camera.height)
    assert info.distortion_model == 'plumb_bob'
    assert list(info.d) == [0.0] * 5
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    assert np.array_equal(info.k.reshape(3, 3), k)
    assert np.array_equal(info.r.reshape(3, 3), np.eye(3))
    assert np.array_equal(info.p.reshape(3, 4), np.column_stack([k, np.zeros(3)]))
    assert info.header.frame_id == 'camera_color_optical_frame'


def test_joints_are_matched_by_name(task: Task) -> None:
    sent = joint_message(['gripper', 'y', 'x'], np.array([9.0, 2.0, 1.0]), STAMP)
    received = deserialize_message(serialize_message(sent), JointState)
    assert joints_of(task, received).tolist() == [1.0, 2.0]
    assert received.position.typecode == 'd'


@pytest.mark.parametrize(
    ('names', 'positions', 'sentence'),
    [
        (['x'], [1.0], 'a joint state lacks y; it has x'),
        (['x', 'y'], [1.0], 'a joint state lacks y'),
        ([], [], 'a joint state lacks x, y'),
        (['x', 'y'], [1.0, np.nan], 'not finite'),
    ],
)
def test_joints_that_are_not_there_are_refused(
    task: Task, names: list[str], positions: list[float], sentence: str
) -> None:
    message = JointState(name=names, position=positions)
    with pytest.raises(HiwmError, match=sentence):
        joints_of(task, message)


def test_an_action_is_the_same_on_the_other_side(task: Task) -> None:
    sent = Action(
        np.array([0.1, 1e-300]), Source.HANDOVER, 2**32 - 1, 7, 'tiller', 9, False, True, 0.5
    )
    message = deserialize_message(
        serialize_message(action_message(task, sent, STAMP)), ActionMessage
    )
    received = action_of(task, message)
    assert received.values.tobytes() == sent.values.tobytes()
    for name in ('source', 'epoch', 'step', 'device', 'seq', 'deadman', 'idle', 'spread'):
        assert getattr(received, name) == getattr(sent, name)
    assert nanoseconds_of(message.header.stamp) == nanoseconds_of(STAMP)
    message.names.reverse()
    assert action_of(task, message).values.tolist() == [1e-300, 0.1]
    message.source = 99
    assert action_of(task, message).source is Source.NONE


def test_numpy_scalars_do_not_get_into_a_message(task: Task) -> None:
    action = Action(
        np.array([1, 2], np.float32), Source.POLICY, np.int64(1), np.uint32(2), '', np.int8(3)
    )
    message = deserialize_message(
        serialize_message(action_message(task, action, STAMP)), ActionMessage
    )
    assert (message.epoch, message.observation_step, message.seq) == (1, 2, 3)
    assert list(message.values) == [1.0, 2.0]
    joints = joint_message(task.joint_names, np.array([1, 2], np.float32), STAMP)
    assert list(deserialize_message(serialize_message(joints), JointState).position) == [1.0, 2.0]


@pytest.mark.parametrize(
    ('names', 'values', 'sentence'),
    [
        (['x', 'y'], [1.0, np.nan], 'value of y is not a finite number'),
        (['x', 'z'], [1.0, 1.0], 'names x, y; this one names x, z'),
        (['x', 'y'], [1.0], 'has 2 names and 1 values'),
    ],
)
def test_an_action_that_cannot_be_read_is_refused(
    task: Task, names: list[str], values: list[float], sentence: str
) -> None:
    with pytest.raises(HiwmError, match=sentence):
        action_of(task, ActionMessage(names=names, values=values))
