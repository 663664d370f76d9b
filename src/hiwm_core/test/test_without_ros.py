# SPDX-License-Identifier: Apache-2.0
"""The core runs where there is no ROS and no torch."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import hiwm_core

BLOCKED = """
import sys


class Block:
    def find_spec(self, name, path=None, target=None):
        top = name.split('.')[0]
        if top in {'rclpy', 'torch', 'rosbag2_py', 'rcl_interfaces', 'builtin_interfaces'} or (
            top.endswith('_msgs')
        ):
            raise ImportError(f'{name} is blocked')
        return None


sys.meta_path.insert(0, Block())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-c', BLOCKED + code], capture_output=True, text=True, check=False
    )


def modules() -> list[str]:
    folder = Path(hiwm_core.__file__).parent
    names = [
        '.'.join(path.relative_to(folder.parent).with_suffix('').parts)
        for path in sorted(folder.rglob('*.py'))
    ]
    return [name.removesuffix('.__init__') for name in names]


def test_the_block_works() -> None:
    for name in ('rclpy', 'torch', 'sensor_msgs', 'hiwm_msgs'):
        assert f'{name} is blocked' in python(f'import {name}').stderr


def test_every_module_of_the_core_imports_without_ros_and_torch() -> None:
    names = modules()
    assert {'hiwm_core', 'hiwm_core.rig', 'hiwm_core.session_bag', 'hiwm_core.tasks'} <= set(names)
    ended = python('\n'.join(f'import {name}' for name in names))
    assert ended.returncode == 0, ended.stderr
