# SPDX-License-Identifier: Apache-2.0
"""Frames over a socket: what is sent arrives bit for bit, and what is no frame is refused."""

from __future__ import annotations

from collections.abc import Iterator
import json
import socket
import threading

import numpy as np
import pytest

from hiwm_core.error import HiwmError
from hiwm_core.framing import LENGTHS, MOST_HEADER, Message, receive, send

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_header_and_arrays_arrive_as_they_were_sent(pair: Pair) -> None:
    draw = np.random.default_rng(0)
    arrays = {
        # Larger than any buffer of a socket, and not contiguous.
        'frames': draw.integers(0, 256, (2, 700, 900, 3), np.uint8)[:, ::-1],
        'joints': draw.standard_normal((2, 7)).astype(np.float32),
        'chunk': draw.standard_normal((16, 14)),
        'nothing': np.empty((0, 3), np.float32),
    }
    sender = threading.Thread(target=send, args=(pair[0], Message({'key': 2**62 + 1}, arrays)))
    sender.start()
    message = receive(pair[1])
    sender.join()
    assert message is not None
    assert dict(message.header) == {'key': 2**62 + 1}
    assert list(message.arrays) == list(arrays)
    for name, array in arrays.items():
        assert message.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(message.arrays[name], array)


def test_messages_keep_their_order_and_the_end_is_told(pair: Pair) -> None:
    for number in range(3):
        send(pair[0], Message({'number': number}))
    pair[0].close()
    read = [receive(pair[1]) for _ in range(4)]
    assert [message and message.header['number'] for message in read] == [0, 1, 2, None]


def test_an_end_within_a_frame_is_an_end(pair: Pair) -> None:
    pair[0].sendall(LENGTHS.pack(100, 0) + b'{')
    pair[0].close()
    assert receive(pair[1]) is None


def framed(header: bytes, data: bytes = b'') -> bytes:
    return LENGTHS.pack(len(header), len(data)) + header + data


def described(**changes: object) -> bytes:
    array = {'name': 'a', 'type': 'uint8', 'shape': [2], **changes}
    return json.dumps({'arrays': [array]}).encode()


@pytest.mark.parametrize(
    'data',
    [
        LENGTHS.pack(MOST_HEADER + 1, 0),
        framed(b'not JSON'),
        framed(b'[]'),
        framed(b'{}'),
        framed(described(shape=[3]), b'ab'),
        framed(described(shape=[-1]), b'ab'),
        framed(described(type='object'), b'ab'),
        framed(described(type='float16'), b'ab'),
    ],
)
def test_what_is_no_frame_is_refused(pair: Pair, data: bytes) -> None:
    pair[0].sendall(data)
    with pytest.raises(HiwmError, match='frame'):
        receive(pair[1])


def test_objects_are_not_sent(pair: Pair) -> None:
    with pytest.raises(ValueError, match='array of object'):
        send(pair[0], Message({}, {'a': np.array([print])}))
