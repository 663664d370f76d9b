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

    # Stamps of the newest that was shown and of the newest frame, which came at `_frame_at`.
    _newest_ns = 0
    _frame_ns = 0
    _frame_at = float('-inf')
    _clock = staticmethod(time.monotonic)
    # s, how far in the past the frame lies that came last; 0 unless its stamp is an earlier one.
    behind = 0.0

    def note_frame(self, stamp_ns: int) -> bool:
        """A frame of this stamp has come: whether it is later than the frame before."""
        older = (self._frame_ns - stamp_ns) / 1e9
        self.behind = older + self._clock() - self._frame_at if older > 0 else 0.0
        if stamp_ns <= self._frame_ns:
            return False
        self._frame_ns, self._frame_at = stamp_ns, self._clock()
        return True

    def is_new(self, stamp_ns: int) -> bool:
        """Whether it is later than all that was shown, so that `show_seen` may follow."""
        return stamp_ns > self._newest_ns

    def show_seen(
        self, node: Node, seen: Observation, stamp_ns: int, executed: Action | None
    ) -> None:
        """Publish the rig at `node` as the camera's frame of that stamp shows it."""
        self._newest_ns = stamp_ns
        self._show_at(time_message(stamp_ns), node, seen, executed)

    def show_head(self) -> None:
        """Nothing, as long as frames come: the next one brings the state."""
        blind = self._clock() - self._frame_at
        if blind > BLIND_TIME:
            node = self._rig.head
            seen = self._rig.tree.observation(node.id)
            # By the camera's clock, which may be another machine's, and its frames may come late:
            # else none that comes later would be new.
            stamp = self._frame_ns + round(1e9 * blind) if self._frame_ns else self._now_ns()
            self._newest_ns = max(self._newest_ns + 1, stamp)
            self._show_at(time_message(self._newest_ns), node, seen, None)

    def show_context(self, length: int) -> None:
        """See `show_head`: what a physical rig shows again after a reset is what is there."""
        self.show_head()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
