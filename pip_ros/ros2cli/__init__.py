# SPDX-License-Identifier: Apache-2.0
"""The `ros2` command: the part that this workspace uses."""
