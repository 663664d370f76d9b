# SPDX-License-Identifier: Apache-2.0
"""Launches ROS nodes: the part of ROS 2 Jazzy's launch_ros that this workspace uses.

It stands in where the real package is missing. rclpy is imported only when a lifecycle node is
asked to change its state.
"""

from launch.unsupported import refuse_other_names

from . import actions, descriptions, event_handlers, events, parameter_descriptions, substitutions

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'actions',
    'descriptions',
    'event_handlers',
    'events',
    'parameter_descriptions',
    'substitutions',
]
