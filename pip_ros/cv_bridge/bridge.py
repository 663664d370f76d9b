# SPDX-License-Identifier: Apache-2.0
"""`CvBridge`: sensor_msgs images to and from OpenCV's arrays.

Reading does not copy where the message allows it: the array is a view of the message's data.
Writing copies once, into the message's own `array.array`: assigning another one makes rclpy look at
each element unless ROS_PYTHON_CHECK_FIELDS is set.
"""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import sensor_msgs.msg
import std_msgs.msg

from cv_bridge.encoding import DEPTHS, CvBridgeError, Encoding, Image, convert, parse_encoding

PASSTHROUGH = 'passthrough'
DEPTH_NAMES = {np.dtype(dtype): name for name, dtype in DEPTHS.items()}


def _describe(image: Image) -> Encoding:
    """Return the encoding without colours that an array has."""
    if not isinstance(image, np.ndarray):
        raise TypeError('Your input type is not a numpy array')
    channels = 1 if image.ndim == 2 else image.shape[-1]
    depth = DEPTH_NAMES.get(image.dtype.newbyteorder('='))
    if image.ndim not in (2, 3) or depth is None or not 1 <= channels <= 4:
        raise CvBridgeError(
            f'an array of shape {image.shape} and type {image.dtype} is not an image; '
            'shape (height, width) or (height, width, 1 to 4) is needed'
        )
    return parse_encoding(f'{depth}C{channels}')


def _flat(data: Image) -> Any:
    """Return an array's bytes as a buffer."""
    return np.ascontiguousarray(data).reshape(-1).view(np.uint8)


class CvBridge:
    """Converts images; it has no state."""

    def cv2_to_imgmsg(
        self,
        cvim: Image,
        encoding: str = PASSTHROUGH,
        header: std_msgs.msg.Header | None = None,
    ) -> sensor_msgs.msg.Image:
        """Return the message of an array of shape (height, width[, channels]).

        `encoding` names what the array holds; nothing is converted. Raises CvBridgeError where the
        array is of another depth or has another number of channels.
        """
        held = _describe(cvim)
        named = held if encoding == PASSTHROUGH else parse_encoding(encoding)
        if (named.dtype, named.channels) != (held.dtype, held.channels):
            raise CvBridgeError(
                f'encoding specified as {encoding}, but image has incompatible type {held.name}'
            )
        message = sensor_msgs.msg.Image()
        if header is not None:
            message.header = header
        message.height, message.width = int(cvim.shape[0]), int(cvim.shape[1])
        message.encoding = named.name
        message.is_bigendian = int(
            cvim.dtype.byteorder == '>' or (cvim.dtype.byteorder == '=' and sys.byteorder == 'big')
        )
        message.step = message.width * held.channels * cvim.dtype.itemsize
        message.data.frombytes(_flat(cvim))
        return message

    def imgmsg_to_cv2(
        self, img_msg: sensor_msgs.msg.Image, desired_encoding: str = PASSTHROUGH
    ) -> Image:
        """Return a message's image as an array of shape (height, width[, channels]).

        Rows longer than the image (`step`) and foreign byte order are honoured. Raises
        CvBridgeError where the data do not fit the sizes or the conversion has no meaning.
        """
        source = parse_encoding(img_msg.encoding)
        height, width, step = img_msg.height, img_msg.width, img_msg.step
        row = width * source.channels * source.dtype.itemsize
        if step < row or len(img_msg.data) < (height - 1) * step + row:
            raise CvBridgeError(
                f'an image of {width}x{height} in {img_msg.encoding} with a step of {step} bytes '
                f'does not fit its {len(img_msg.data)} bytes of data'
            )
        stored = source.dtype.newbyteorder('>' if img_msg.is_bigendian else '<')
        shape: tuple[int, ...] = (height, width)
        strides: tuple[int, ...] = (step, source.channels * source.dtype.itemsize)
        if source.channels > 1:
            shape += (source.channels,)
            strides += (source.dtype.itemsize,)
        image = np.ndarray(shape, stored, buffer=img_msg.data, strides=strides)
        image = np.ascontiguousarray(image, source.dtype)
        if desired_encoding == PASSTHROUGH:
            return image
        return convert(image, source, parse_encoding(desired_encoding))

    def cv2_to_compressed_imgmsg(
        self, cvim: Image, dst_format: str = 'jpg'
    ) -> sensor_msgs.msg.CompressedImage:
        """Return the message of an array (mono or BGR), compressed as 'jpg' or 'png'."""
        _describe(cvim)
        message = sensor_msgs.msg.CompressedImage()
        message.format = dst_format
        try:
            _, content = cv2.imencode(f'.{dst_format}', cvim)
        except cv2.error as error:
            raise CvBridgeError(f"cannot compress as '{dst_format}': {error.err}") from error
        message.data.frombytes(_flat(content))
        return message

    def compressed_imgmsg_to_cv2(
        self, cmprs_img_msg: sensor_msgs.msg.CompressedImage, desired_encoding: str = PASSTHROUGH
    ) -> Image:
        """Return a compressed image as an array; without a desired encoding, mono or BGR(A)."""
        content = np.frombuffer(cmprs_img_msg.data, np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
        if image is None:
            raise CvBridgeError(
                f"{content.size} bytes in the format '{cmprs_img_msg.format}' are no image"
            )
        if desired_encoding == PASSTHROUGH:
            return image
        held = _describe(image)
        space = {1: 'mono', 3: 'bgr', 4: 'bgra'}[held.channels]
        source = parse_encoding(f'{space}{8 * held.dtype.itemsize}')
        return convert(image, source, parse_encoding(desired_encoding))
