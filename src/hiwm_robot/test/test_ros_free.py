# SPDX-License-Identifier: Apache-2.0
"""Every module but the nodes and what writes bags works where there is no rclpy."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import hiwm_robot

WRITE_BAGS = {'episode_bag.py', 'import_lerobot.py'}
IMPORT_WITHOUT = """
import importlib
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'rclpy', 'hiwm_msgs', 'hiwm_rig', 'rosbag2_py'}:
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocker())
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


def test_core_modules_import_while_ros_is_blocked() -> None:
    root = Path(hiwm_robot.__file__).parent
    names = [
        '.'.join(('hiwm_robot', *path.relative_to(root).with_suffix('').parts)).removesuffix(
            '.__init__'
        )
        for path in sorted(root.rglob('*.py'))
        if not path.name.endswith('_node.py') and path.name not in WRITE_BAGS
    ]
    assert 'hiwm_robot.sims.pusht.simulator' in names
    subprocess.run([sys.executable, '-c', IMPORT_WITHOUT, *names], check=True, timeout=100)
