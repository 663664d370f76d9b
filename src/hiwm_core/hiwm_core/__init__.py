# SPDX-License-Identifier: Apache-2.0
"""What every part of Hi-WM shares. Nothing in this package imports rclpy or torch."""
