# SPDX-License-Identifier: Apache-2.0
"""Images between OpenCV and ROS: `CvBridge` and `CvBridgeError`, as in ROS 2's cv_bridge."""

from cv_bridge.bridge import CvBridge
from cv_bridge.encoding import CvBridgeError

__all__ = ['CvBridge', 'CvBridgeError']
