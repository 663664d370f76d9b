# SPDX-License-Identifier: Apache-2.0
"""The clock of every timer: one that nobody sets.

A timer on the node's own clock stands still for as long as the system's time is set back
(ros2/rclpy#1490), and with it whatever it watches over.
"""

from __future__ import annotations

from rclpy.clock import Clock, ClockType

STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
