# SPDX-License-Identifier: Apache-2.0
"""What a rig publishes beside a camera that is a node of its own: joints and state, stamped as the
camera's frame is.
"""

from __future__ import annotations

import time

from hiwm_core.action import Action
from hiwm_core.observation import Observation
from hiwm_core.rollout_tree import Node
from hiwm_rig.conversion import time_message
from hiwm_rig.rig_publisher import RigPublisher

# s without a frame, after which the state is shown without one.
BLIND_TIME = 0.5


class LivePublisher(RigPublisher):
    """The topics of a rig whose camera is a node of its own.

    A state belongs to a frame, so what changes between two frames is shown with the next one.
    """

    _newest_ns = 0
    _frame_at = float('-inf')

    def is_new(self, stamp_ns: int) -> bool:
        """Whether a frame of this stamp is later than all that was shown."""
        return stamp_ns > self._newest_ns

    def note_frame(self) -> None:
        """A frame has come, and `show_seen` may follow."""
        self._frame_at = time.monotonic()

    def show_seen(
        self, node: Node, seen: Observation, stamp_ns: int, executed: Action | None
    ) -> None:
        """Publish the rig at `node` as the camera's frame of that stamp shows it."""
        self._newest_ns = stamp_ns
        self._show_at(time_message(stamp_ns), node, seen, executed)

    def show_head(self) -> None:
        """Nothing, as long as frames come: the next one brings the state."""
        if time.monotonic() - self._frame_at > BLIND_TIME:
            node = self._rig.head
            seen = self._rig.tree.observation(node.id)
            self._newest_ns = max(self._newest_ns + 1, self._now_ns())
            self._show_at(time_message(self._newest_ns), node, seen, None)

    def show_context(self, length: int) -> None:
        """See `show_head`: what a physical rig shows again after a reset is what is there."""
        self.show_head()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
