# SPDX-License-Identifier: Apache-2.0
"""The console's hand on the real emergency stop.

It has a topic of its own, `/console/e_stop`, to which arm and multiplexer listen as they do to that
of buttons: on one topic, its level would pass for a button's, and a dead one would not be missed.

A lock of the multiplexer has to be repeated, and its silence locks too. So from the first press on
its level is published for as long as the console runs: true until the stop is taken back, then
false. If the console ends after that, the lock falls silent and the arm stays locked until somebody
publishes again: an emergency stop that has been used once is never just forgotten.
"""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_rig.base_node import profile_of
from hiwm_rig.emergency_stop import CONSOLE_TOPIC
from hiwm_rig.steady_clock import STEADY_CLOCK

PERIOD = 0.1  # s; the lock's timeout in action_mux.yaml is 0.5 s


class EmergencyStop:
    """The level of the lock.

    Args:
        node: Owns the publisher.
    """

    def __init__(self, node: Node) -> None:
        self._publisher = node.create_publisher(Bool, CONSOLE_TOPIC, profile_of(contract.COMMAND))
        self._level = False
        self._timer = node.create_timer(PERIOD, self._tell, clock=STEADY_CLOCK, autostart=False)

    @property
    def used(self) -> bool:
        """Whether it has been pressed since the console began."""
        return not self._timer.is_canceled()

    def press(self) -> None:
        """Lock, at once and from now on."""
        self._set(True)

    def take_back(self) -> None:
        """Unlock; say so from now on."""
        self._set(False)

    def _set(self, level: bool) -> None:
        self._level = level
        self._tell()
        if self._timer.is_canceled():
            self._timer.reset()

    def _tell(self) -> None:
        self._publisher.publish(Bool(data=self._level))
