# SPDX-License-Identifier: Apache-2.0
"""What a rig says of itself on /diagnostics once a second: periods, step times, action latency.

Of each kind: `frame period`, from frame to frame; `step`, what the backend computes for one;
`answer`, from an action's arrival in the node to its frame with the state published; `action
transport`, from an action's stamp to its arrival.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
import math
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np

from hiwm_core.contract import DIAGNOSTICS
from hiwm_rig.base_node import publisher
from hiwm_rig.steady_clock import STEADY_CLOCK

WINDOW = 600
RANKS = (50, 95, 99)


class Percentiles:
    """The newest durations of one kind, in seconds."""

    def __init__(self) -> None:
        self._values: deque[float] = deque(maxlen=WINDOW)
        self.newest = math.nan

    def add(self, seconds: float) -> None:
        """Take one in."""
        self._values.append(seconds)
        self.newest = seconds

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Take the duration of a block in, unless it raises."""
        began = time.monotonic()
        yield
        self.add(time.monotonic() - began)

    def entries(self, name: str) -> list[KeyValue]:
        """p50, p95 and p99 in milliseconds; nothing before the first value."""
        if not self._values:
            return []
        # A tuple is one uninterrupted copy; the worker may add a value at any moment.
        values = np.percentile(tuple(self._values), RANKS) * 1e3
        return [
            KeyValue(key=f'{name} p{rank} (ms)', value=f'{value:.3f}')
            for rank, value in zip(RANKS, values, strict=True)
        ]


class Diagnostics:
    """The diagnostics of a rig node.

    Args:
        node: Publishes them; its name is the status's.
        period: s, of the task; frames that take half as long again make the status WARN.

    Attributes:
        speed: Of time; in slow motion frames come later.
        warning: A sentence that makes the status WARN from then on; empty: none.
    """

    def __init__(self, node: Any, period: float) -> None:
        self._node = node
        self._period = period
        self.speed = 1.0
        self.warning = ''
        self._publisher = publisher(node, DIAGNOSTICS)
        self._step = Percentiles()
        self._frame_period = Percentiles()
        self._answer = Percentiles()
        self._latency = Percentiles()
        self._last_frame: float | None = None
        self._timer = node.create_timer(1.0, self._publish, clock=STEADY_CLOCK)

    @property
    def step_time(self) -> float:
        """Seconds that the newest step of the backend took; NaN before the first."""
        return self._step.newest

    def computing(self) -> AbstractContextManager[None]:
        """Time one step of the backend."""
        return self._step.timing()

    def frame(self) -> None:
        """A frame was published now."""
        now = time.monotonic()
        if self._last_frame is not None:
            self._frame_period.add(now - self._last_frame)
        self._last_frame = now

    def answered(self, arrived: float) -> None:
        """The frame of an action that arrived then (s, monotonic) was published now."""
        self._answer.add(time.monotonic() - arrived)

    def action(self, stamp_ns: int) -> None:
        """An action with this stamp arrived now."""
        self._latency.add(max(0, self._node.get_clock().now().nanoseconds - stamp_ns) / 1e9)

    def destroy(self) -> None:
        """Take the diagnostics off the graph."""
        self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._publisher)

    def _publish(self) -> None:
        silent = self._last_frame is None or (
            time.monotonic() - self._last_frame > 1.5 * self._period / self.speed
        )
        message = self.warning or ('no frame for more than a period' if silent else '')
        status = DiagnosticStatus(
            level=DiagnosticStatus.WARN if message else DiagnosticStatus.OK,
            name=self._node.get_name(),
            message=message or 'frames on time',
            values=[
                *self._frame_period.entries('frame period'),
                *self._step.entries('step'),
                *self._answer.entries('answer'),
                *self._latency.entries('action transport'),
            ],
        )
        array = DiagnosticArray(status=[status])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)
