# SPDX-License-Identifier: Apache-2.0
"""Messages between a process and its child: a header and arrays, each frame with its length.

    length of the header (uint32), length of the arrays (uint64), header (JSON), arrays (raw bytes)

The header names the arrays with type and shape. Nothing of it is code, so that neither side runs
what the other sends. All numbers are little-endian.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import math
import socket
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError

LENGTHS = struct.Struct('<IQ')
MOST_HEADER, MOST_DATA = 1 << 20, 1 << 30
TYPES = ('uint8', 'float32', 'float64')
ARRAYS = 'arrays'


@dataclass(frozen=True, eq=False)
class Message:
    """What is sent at once.

    Attributes:
        header: Anything that JSON holds, but for the key `arrays`.
        arrays: By name; of one of TYPES.
    """

    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def send(channel: socket.socket, message: Message) -> None:
    """Send a message whole. Raises OSError if the other side is gone, TimeoutError if it is stuck.

    Raises:
        ValueError: An array is of a type that frames do not carry.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in message.arrays.items()}
    for name, array in arrays.items():
        if array.dtype.name not in TYPES:
            raise ValueError(f'{name} is an array of {array.dtype}; frames carry {TYPES}')
    described = [
        {'name': name, 'type': array.dtype.name, 'shape': array.shape}
        for name, array in arrays.items()
    ]
    header = json.dumps({**message.header, ARRAYS: described}).encode()
    size = sum(array.nbytes for array in arrays.values())
    channel.sendall(LENGTHS.pack(len(header), size) + header)
    for array in arrays.values():
        channel.sendall(array.data.cast('B') if array.size else b'')


def receive(channel: socket.socket) -> Message | None:
    """The next message; None if the other side is gone. Raises TimeoutError if it is stuck.

    Raises:
        HiwmError: What came is no message.
    """
    try:
        lengths = _read(channel, LENGTHS.size)
        if lengths is None:
            return None
        header_size, size = LENGTHS.unpack(lengths)
        if header_size > MOST_HEADER or size > MOST_DATA:
            raise HiwmError(f'a frame of {header_size} and {size} bytes is not of this protocol')
        header = _read(channel, header_size)
        data = _read(channel, size)
    except ConnectionError:
        return None
    if header is None or data is None:
        return None
    try:
        content = json.loads(header)
        return Message(content, _arrays(content.pop(ARRAYS), data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HiwmError(f'a frame cannot be read: {error}') from error


def _arrays(described: list[dict[str, Any]], data: bytearray) -> dict[str, NDArray[Any]]:
    arrays, first = {}, 0
    for each in described:
        if each['type'] not in TYPES or any(length < 0 for length in each['shape']):
            raise ValueError(f'an array of {each["type"]} {each["shape"]}')
        kind = np.dtype(each['type']).newbyteorder('<')
        count = math.prod(each['shape'])
        if first + count * kind.itemsize > len(data):
            raise ValueError(f'{each["name"]} is longer than its frame')
        flat = np.frombuffer(data, kind, count, first)
        arrays[each['name']] = flat.reshape(each['shape'])
        first += count * kind.itemsize
    return arrays


def _read(channel: socket.socket, count: int) -> bytearray | None:
    """Exactly so many bytes; None if the other side ended before."""
    data = bytearray(count)
    left = memoryview(data)
    while left:
        taken = channel.recv_into(left)
        if not taken:
            return None
        left = left[taken:]
    return data
