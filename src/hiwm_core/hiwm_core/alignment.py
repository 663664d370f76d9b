# SPDX-License-Identifier: Apache-2.0
"""What belongs together: the parts of a frame, and the frames that a policy looks at.

This is the one definition. The policy's node uses it on the graph, `session_log` on a bag, and both
get the same numbers (`test/test_alignment.py`):

- A frame is an image and the RIG_STATE of the same stamp, and the newest joint state that is not
  later. A rig gives each frame a joint state of its own stamp; an arm that reports at its own rate
  serves as well. A frame is whole once a joint state of its stamp or a later one is there, so that
  a slow message changes nothing. It has no joints, and is passed over, if they are older than half
  a period.
- What a policy looks at in step t are the frames of the steps t - To + 1 to t on the path to it,
  the first one standing in for those before a start. After a discontinuity the rig shows the end of
  the restored path again, so that a live policy has them too.
- The action of step t is what the rig executed between the frames t and t + 1.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hiwm_core.error import HiwmError

# Frames whose parts have not all come, and joint states; beyond these the oldest is given up.
PENDING_FRAMES = 64
JOINTS_KEPT = 1024
SET_BACK = 1_000_000_000  # ns; no message is so late

Each = TypeVar('Each')


@dataclass(frozen=True, slots=True)
class JoinedFrame:
    """The parts of one frame, as they were given; `stamp` in nanoseconds."""

    stamp: int
    image: Any
    state: Any
    joints: Any


class FrameJoin:
    """Joins images, states and joints as they come, in whatever order.

    Args:
        period: Seconds of one step.
    """

    def __init__(self, period: float) -> None:
        self._oldest_joints = int(period / 2 * 1e9)
        self._pending: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._joints: list[tuple[int, Any]] = []

    def image(self, stamp: int, message: Any) -> list[JoinedFrame]:
        """An image is there; returns the frames that are whole now."""
        return self._part(stamp, 'image', message)

    def state(self, stamp: int, message: Any) -> list[JoinedFrame]:
        """A RIG_STATE is there; returns the frames that are whole now."""
        return self._part(stamp, 'state', message)

    def joints(self, stamp: int, message: Any) -> list[JoinedFrame]:
        """A joint state with all of the task's joints; returns the frames that are whole now."""
        self._forget_later(stamp)
        insort(self._joints, (stamp, message), key=_stamp)
        if len(self._joints) > JOINTS_KEPT:
            del self._joints[0]
        waiting = sorted(
            at for at, parts in self._pending.items() if at <= stamp and len(parts) == 2
        )
        return [frame for at in waiting if (frame := self._whole(at)) is not None]

    def _part(self, stamp: int, name: str, message: Any) -> list[JoinedFrame]:
        self._forget_later(stamp)
        parts = self._pending.setdefault(stamp, {})
        parts.setdefault(name, message)
        frame = self._whole(stamp) if len(parts) == 2 else None
        while len(self._pending) > PENDING_FRAMES:
            self._pending.popitem(last=False)
        return [frame] if frame is not None else []

    def _forget_later(self, stamp: int) -> None:
        """Joints far later than what comes now are of the time before a clock was set back."""
        while self._joints and self._joints[-1][0] > stamp + SET_BACK:
            self._joints.pop()

    def _whole(self, stamp: int) -> JoinedFrame | None:
        """The frame of a stamp whose image and state are there, if its joints are decided."""
        if not self._joints or self._joints[-1][0] < stamp:
            return None
        parts = self._pending.pop(stamp)
        place = bisect_right(self._joints, stamp, key=_stamp) - 1
        if place < 0 or stamp - self._joints[place][0] > self._oldest_joints:
            return None
        return JoinedFrame(stamp, parts['image'], parts['state'], self._joints[place][1])


def _stamp(entry: tuple[int, Any]) -> int:
    return entry[0]


def history_rows(steps: ArrayLike, context: int, start: ArrayLike = 0) -> NDArray[np.int64]:
    """The rows (..., To) of the frames that a policy looks at, oldest first.

    Args:
        steps: The rows of the newest frames, of any shape.
        context: To.
        start: The row of the first frame of their path.
    """
    rows = np.asarray(steps, np.int64)[..., None] + np.arange(1 - context, 1)
    return np.maximum(rows, np.asarray(start, np.int64)[..., None])


def filled(history: Sequence[Each], context: int) -> list[Each]:
    """The newest To of a live history that is not empty; as `history_rows`."""
    recent = list(history[-context:])
    return [recent[0]] * (context - len(recent)) + recent


def pixels_of(encoding: str, height: int, width: int, step: int, data: Any) -> NDArray[np.uint8]:
    """The pixels of an 8-bit colour image message as uint8 (H, W, 3) RGB.

    A view of the data where that is rgb8.

    Args:
        step: Bytes from one row to the next.
        data: A buffer.

    Raises:
        HiwmError: Another encoding, no pixels, or fewer bytes than the message's size asks for.
    """
    if encoding not in {'rgb8', 'bgr8'}:
        raise HiwmError(f"an image has the encoding '{encoding}'; rgb8 or bgr8 is needed")
    if height < 1 or width < 1:
        raise HiwmError(f'an image of {width}x{height} has no pixels')
    if step < width * 3 or len(data) < height * step:
        raise HiwmError(
            f'an image of {width}x{height} has {len(data)} bytes in rows of {step}; '
            'that is too few for three bytes a pixel'
        )
    rows = np.frombuffer(data, np.uint8, count=height * step).reshape(height, step)
    pixels = rows[:, : width * 3].reshape(height, width, 3)
    return pixels if encoding == 'rgb8' else pixels[:, :, ::-1]
