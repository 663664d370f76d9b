# SPDX-License-Identifier: Apache-2.0
"""The stand-in for cv_bridge, from outside: what goes in comes out, as OpenCV would convert it."""

from __future__ import annotations

import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from cv_bridge import CvBridge, CvBridgeError

SHAPES = {
    'mono8': (np.uint8, (5, 7)),
    'bgr8': (np.uint8, (5, 7, 3)),
    'rgb8': (np.uint8, (5, 7, 3)),
    'bgra8': (np.uint8, (5, 7, 4)),
    'rgba8': (np.uint8, (5, 7, 4)),
    'mono16': (np.uint16, (5, 7)),
    'rgb16': (np.uint16, (5, 7, 3)),
    '8UC2': (np.uint8, (5, 7, 2)),
    '16UC1': (np.uint16, (5, 7)),
    '16SC1': (np.int16, (5, 7)),
    '32FC1': (np.float32, (5, 7)),
    '64FC4': (np.float64, (5, 7, 4)),
}


def sample(encoding: str) -> np.ndarray:
    dtype, shape = SHAPES[encoding]
    rng = np.random.default_rng(len(encoding))
    if np.issubdtype(dtype, np.floating):
        return rng.normal(size=shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@pytest.mark.parametrize('encoding', SHAPES)
def test_round_trip(encoding: str) -> None:
    image = sample(encoding)
    header = Header(frame_id='camera')
    message = CvBridge().cv2_to_imgmsg(image, encoding, header)
    assert (message.height, message.width, message.encoding) == (5, 7, encoding)
    assert message.step * message.height == len(message.data) == image.nbytes
    assert message.header.frame_id == 'camera'
    assert isinstance(message.data, array.array)
    for desired in ('passthrough', encoding):
        back = CvBridge().imgmsg_to_cv2(message, desired)
        assert back.dtype == image.dtype
        np.testing.assert_array_equal(back, image)


def test_without_an_encoding_depth_and_channels_are_named() -> None:
    assert CvBridge().cv2_to_imgmsg(sample('rgb8')).encoding == '8UC3'
    assert CvBridge().cv2_to_imgmsg(sample('mono16')).encoding == '16UC1'


def test_views_are_written_as_they_look() -> None:
    whole = sample('rgb8')
    message = CvBridge().cv2_to_imgmsg(whole[1:4, ::2], 'rgb8')
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), whole[1:4, ::2])


def test_reading_does_not_copy() -> None:
    message = CvBridge().cv2_to_imgmsg(sample('bgr8'), 'bgr8')
    image = CvBridge().imgmsg_to_cv2(message)
    assert np.shares_memory(image, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize('encoding', ['rgb8', 'mono16', '32FC1'])
def test_step_and_byte_order_are_honoured(encoding: str) -> None:
    image = sample(encoding)
    channels = 1 if image.ndim == 2 else image.shape[2]
    row = image.shape[1] * channels * image.itemsize
    padded = np.full((5, row + 9), 0xEE, np.uint8)
    swapped = np.ascontiguousarray(image.astype(image.dtype.newbyteorder('>')))
    padded[:, :row] = swapped.view(np.uint8).reshape(5, row)
    message = Image(
        height=5,
        width=7,
        encoding=encoding,
        step=row + 9,
        is_bigendian=1,
        data=array.array('B', padded.tobytes()),
    )
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), image)
    # The last row may end with the image.
    message.data = message.data[:-9]
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), image)


def test_a_big_endian_array_is_marked() -> None:
    image = sample('mono16').astype('>u2')
    message = CvBridge().cv2_to_imgmsg(image, 'mono16')
    assert message.is_bigendian == 1
    np.testing.assert_array_equal(CvBridge().imgmsg_to_cv2(message), image)


@pytest.mark.parametrize(
    ('source', 'target', 'code'),
    [
        ('rgb8', 'bgr8', cv2.COLOR_RGB2BGR),
        ('bgr8', 'rgb8', cv2.COLOR_BGR2RGB),
        ('rgb8', 'mono8', cv2.COLOR_RGB2GRAY),
        ('bgr8', 'mono8', cv2.COLOR_BGR2GRAY),
        ('mono8', 'rgb8', cv2.COLOR_GRAY2RGB),
        ('rgba8', 'bgr8', cv2.COLOR_RGBA2BGR),
        ('bgr8', 'rgba8', cv2.COLOR_BGR2RGBA),
    ],
)
def test_colours_are_converted_as_opencv_does(source: str, target: str, code: int) -> None:
    message = CvBridge().cv2_to_imgmsg(sample(source), source)
    np.testing.assert_array_equal(
        CvBridge().imgmsg_to_cv2(message, target), cv2.cvtColor(sample(source), code)
    )


def test_depths_are_scaled_between_colours_and_kept_otherwise() -> None:
    bridge = CvBridge()
    image = np.array([[0, 1, 128, 255]], np.uint8)
    wide = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(image, 'mono8'), 'mono16')
    np.testing.assert_array_equal(wide, [[0, 257, 32896, 65535]])
    back = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(wide, 'mono16'), 'mono8')
    np.testing.assert_array_equal(back, image)
    depth = np.array([[0, 900, 65535]], np.uint16)
    metres = bridge.imgmsg_to_cv2(bridge.cv2_to_imgmsg(depth, '16UC1'), '32FC1')
    assert metres.dtype == np.float32
    np.testing.assert_array_equal(metres, depth)
    colour = bridge.cv2_to_imgmsg(sample('rgb8'), 'rgb8')
    np.testing.assert_array_equal(bridge.imgmsg_to_cv2(colour, '8UC3'), sample('rgb8'))


@pytest.mark.parametrize(
    ('source', 'target', 'sentence'),
    [
        ('16UC1', 'rgb8', 'not a color format'),
        ('rgb8', '8UC1', 'different numbers of channels'),
        ('32FC1', 'mono8', 'not a color format'),
        ('rgb8', 'purple', "unsupported image encoding 'purple'"),
    ],
)
def test_conversions_without_meaning_are_refused(source: str, target: str, sentence: str) -> None:
    message = CvBridge().cv2_to_imgmsg(sample(source), source)
    with pytest.raises(CvBridgeError, match=sentence):
        CvBridge().imgmsg_to_cv2(message, target)


def test_bad_input_gets_a_sentence() -> None:
    bridge = CvBridge()
    with pytest.raises(CvBridgeError, match=r'specified as rgb8, but image has .* 8UC1'):
        bridge.cv2_to_imgmsg(sample('mono8'), 'rgb8')
    with pytest.raises(CvBridgeError, match='not an image'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2, 5), np.uint8))
    with pytest.raises(CvBridgeError, match='not an image'):
        bridge.cv2_to_imgmsg(np.zeros((2, 2), np.complex64))
    with pytest.raises(TypeError, match='not a numpy array'):
        bridge.cv2_to_imgmsg([[1, 2]])  # type: ignore[arg-type]
    short = bridge.cv2_to_imgmsg(sample('rgb8'), 'rgb8')
    short.data = short.data[:-1]
    with pytest.raises(CvBridgeError, match='7x5 in rgb8 with a step of 21 bytes does not fit'):
        bridge.imgmsg_to_cv2(short)
    with pytest.raises(CvBridgeError, match='are no image'):
        bridge.compressed_imgmsg_to_cv2(CompressedImage(format='png', data=[1, 2, 3]))
    with pytest.raises(CvBridgeError, match="cannot compress as 'tune'"):
        bridge.cv2_to_compressed_imgmsg(sample('bgr8'), 'tune')


def test_compressed_images() -> None:
    bridge, image = CvBridge(), sample('bgr8')
    message = bridge.cv2_to_compressed_imgmsg(image, 'png')
    assert message.format == 'png'
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(message), image)
    np.testing.assert_array_equal(
        bridge.compressed_imgmsg_to_cv2(message, 'rgb8'), image[..., ::-1]
    )
    smooth = np.full((64, 64, 3), (200, 100, 50), np.uint8)
    lossy = bridge.compressed_imgmsg_to_cv2(bridge.cv2_to_compressed_imgmsg(smooth))
    assert np.abs(lossy.astype(int) - smooth).max() < 8
    deep = bridge.cv2_to_compressed_imgmsg(sample('mono16'), 'png')
    np.testing.assert_array_equal(bridge.compressed_imgmsg_to_cv2(deep), sample('mono16'))
    assert bridge.compressed_imgmsg_to_cv2(deep, 'mono8').dtype == np.uint8
