# SPDX-License-Identifier: Apache-2.0
"""Frames of the rollout tree's nodes, as small pictures for a timeline."""

from __future__ import annotations

from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage

from hiwm_core.contract import CAMERA_FRAME_ID
from hiwm_core.error import HiwmError
from hiwm_core.rollout_tree import RolloutTree

MOST_FRAMES = 64
# Fast to write; a timeline's pictures travel over loopback and are small.
PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 1)


def fill_frames(tree: RolloutTree, request: Any, response: Any) -> None:
    """Answer a `GetFrames` request: unknown nodes are left out.

    Raises:
        HiwmError: No node or more than MOST_FRAMES are asked for; STORAGE_FAULT from the tree.
    """
    if not 1 <= len(request.nodes) <= MOST_FRAMES:
        raise HiwmError(f'1 to {MOST_FRAMES} nodes can be asked for, not {len(request.nodes)}')
    found = [int(node) for node in request.nodes if int(node) in tree.nodes]
    response.nodes = found
    response.frames = [
        _compressed(tree.observation(node).frame, int(request.width)) for node in found
    ]


def _compressed(frame: NDArray[np.uint8], width: int) -> CompressedImage:
    """A frame (H, W, 3) as PNG, reduced to `width` columns unless that is 0 or more than it has."""
    if 0 < width < frame.shape[1]:
        height = max(1, round(frame.shape[0] * width / frame.shape[1]))
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    _, data = cv2.imencode('.png', cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), PNG_SETTINGS)
    image = CompressedImage(format='png', data=array('B', data.tobytes()))
    image.header.frame_id = CAMERA_FRAME_ID
    return image
