# SPDX-License-Identifier: Apache-2.0
"""Where an arm's file is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm

FOLLOWER = 'reference_arm.yaml'
LEADER = 'reference_leader.yaml'


def arm_path(path: str, reference: str = FOLLOWER) -> Path:
    """The file that a path means; an empty one means this package's `reference`."""
    if path:
        return Path(path).expanduser()
    return Path(get_package_share_directory('hiwm_robot')) / 'config' / reference


def open_arm_file(path: str, port: str = '', reference: str = FOLLOWER) -> ArmConfig:
    """Read an arm's file.

    Args:
        path: Empty: the reference arm's.
        port: Instead of the file's own; empty: that one.
        reference: Which of this package's files an empty path means.

    Raises:
        ConfigurationError: It cannot be read or is not right.
    """
    config = read_arm(arm_path(path, reference))
    return replace(config, port=port) if port else config
