# SPDX-License-Identifier: Apache-2.0
"""Where an arm's file is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm

FOLLOWER = 'reference_arm.yaml'
LEADER = 'reference_leader.yaml'


def open_arm_file(path: str, port: str = '', reference: str = FOLLOWER) -> ArmConfig:
    """Read an arm's file.

    Args:
        path: Empty: the reference arm's.
        port: Instead of the file's own; empty: that one.
        reference: Which of this package's files an empty path means.

    Raises:
        ConfigurationError: It cannot be read or is not right.
    """
    file = Path(path).expanduser()
    if not path:
        file = Path(get_package_share_directory('hiwm_robot')) / 'config' / reference
    config = read_arm(file)
    return replace(config, port=port) if port else config
