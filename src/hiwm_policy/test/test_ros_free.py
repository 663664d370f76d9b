# SPDX-License-Identifier: Apache-2.0
"""Everything but the node works where there is no ROS."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import hiwm_policy

BLOCKED = """
import importlib, sys
sys.modules['rclpy'] = sys.modules['hiwm_msgs'] = None
for name in sys.argv[1:]:
    importlib.import_module('hiwm_policy.' + name)
"""


def test_core_modules_import_without_rclpy() -> None:
    folder = Path(hiwm_policy.__file__).parent
    names = [path.stem for path in folder.glob('*.py') if not path.stem.endswith('_node')]
    assert len(names) > 10
    subprocess.run([sys.executable, '-c', BLOCKED, *names], check=True)
