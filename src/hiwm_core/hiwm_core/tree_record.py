# SPDX-License-Identifier: Apache-2.0
"""The records of a rollout tree's journal, as bytes. Numbers come back bit for bit.

A node's record is, little-endian, the `NODE` fields below and the branch's name in UTF-8, which are
read when a tree is opened; then what is read only when it is asked for: the action's float64, and
one zlib stream with the `SIZES` of the observation, its joints, scene and state as float64, and its
frame. It begins with `N`.

Every other record is a JSON text, whose `kind` says what it is: `session` (first, with the seed),
`branch` (a new one, or a new label), `checkpoint`, `head` (it was moved). A root's record is also
that of the branch that begins with it.
"""

from __future__ import annotations

from dataclasses import asdict
import json
import struct
import sys
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.observation import Observation
from hiwm_core.tree_node import Branch, Label, Node

# tag, source, bytes of the branch's name, numbers of the action, id, parent, step, epoch, key,
# progress, success, fidelity
NODE = struct.Struct('<cBHHQQIIQddd')
NODE_TAG = b'N'
# numbers of the joints, the scene and the state; height, width and channels of the frame
SIZES = struct.Struct('<6I')
FLOAT = np.dtype('<f8')
LONGEST_NAME = 0xFFFF  # bytes


def encode_node(node: Node, action: NDArray[np.float64], observation: Observation) -> bytes:
    """The record of a node, the action (A,) that led to it and what was observed there."""
    name = node.branch.encode()
    numbers = (observation.joints, observation.scene, observation.state)
    compressor = zlib.compressobj(level=1)
    return b''.join(
        (
            NODE.pack(
                NODE_TAG,
                node.source,
                len(name),
                len(action),
                node.id,
                node.parent,
                node.step,
                node.epoch,
                node.key,
                node.progress,
                node.success,
                observation.fidelity,
            ),
            name,
            _bytes(action),
            compressor.compress(
                SIZES.pack(*(values.size for values in numbers), *observation.frame.shape)
                + b''.join(_bytes(values) for values in numbers)
            ),
            compressor.compress(np.ascontiguousarray(observation.frame).data),
            compressor.flush(),
        )
    )


def is_node(payload: bytes) -> bool:
    """Whether a record is a node's."""
    return payload.startswith(NODE_TAG)


def decode_node(payload: bytes) -> Node:
    """The node of its record. Raises ValueError or struct.error if it is none."""
    _, source, name_size, action_size, node_id, parent, step, epoch, key, progress, success, _ = (
        NODE.unpack_from(payload)
    )
    begin = NODE.size + name_size
    if len(payload) < begin + FLOAT.itemsize * action_size:
        raise ValueError(f'the record of node {node_id} is too short')
    return Node(
        node_id,
        parent,
        step,
        epoch,
        # Each name once in memory, however many nodes its branch has.
        sys.intern(payload[NODE.size : begin].decode()),
        Source(source),
        key,
        progress,
        success,
    )


def decode_action(payload: bytes) -> NDArray[np.float64]:
    """The action (A,) of a node's record; it cannot be written to."""
    _, _, name_size, action_size, *_ = NODE.unpack_from(payload)
    return np.frombuffer(payload, FLOAT, action_size, NODE.size + name_size)


def decode_observation(payload: bytes) -> Observation:
    """The observation of a node's record; its frame cannot be written to."""
    _, _, name_size, action_size, *_, progress, success, fidelity = NODE.unpack_from(payload)
    data = zlib.decompress(memoryview(payload)[NODE.size + name_size + 8 * action_size :])
    *counts, height, width, channels = SIZES.unpack_from(data)
    numbers = np.frombuffer(data, FLOAT, sum(counts), SIZES.size)
    joints, scene, state = np.split(numbers, np.cumsum(counts[:-1]))
    frame = np.frombuffer(data, np.uint8, offset=SIZES.size + numbers.nbytes)
    return Observation(
        frame=frame.reshape(height, width, channels),
        joints=joints.copy(),
        scene=scene.copy(),
        progress=progress,
        success=success,
        fidelity=fidelity,
        state=state.copy(),
    )


def encode_change(kind: str, **fields: Any) -> bytes:
    """The record of anything but a node."""
    return json.dumps({'kind': kind, **fields}, separators=(',', ':')).encode()


def decode_change(payload: bytes) -> dict[str, Any]:
    """The fields of any record but a node's, with its `kind`. Raises ValueError."""
    fields = json.loads(payload)
    if not isinstance(fields, dict):
        raise ValueError(f'{payload[:50]!r} has no kind')
    return fields


def encode_branch(branch: Branch) -> bytes:
    """The record of a branch as it now is."""
    return encode_change('branch', **asdict(branch))


def branch_of(fields: dict[str, Any]) -> Branch:
    """The branch of its record's fields."""
    values = {name: fields[name] for name in Branch.__slots__}
    return Branch(**values | {'label': Label(values['label'])})


def _bytes(values: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(values, FLOAT).tobytes()
