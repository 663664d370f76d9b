# SPDX-License-Identifier: Apache-2.0
"""Everything but the nodes, and what writes their messages into bags, works without ROS."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import hiwm_policy

WRITE_BAGS = {'practice_session'}
BLOCKED = """
import importlib, sys
sys.modules['rclpy'] = sys.modules['hiwm_msgs'] = None
for name in sys.argv[1:]:
    importlib.import_module('hiwm_policy.' + name)
"""


def test_core_modules_import_without_rclpy() -> None:
    folder = Path(hiwm_policy.__file__).parent
    modules = {path.stem for path in folder.glob('*.py')}
    assert modules > WRITE_BAGS
    names = [name for name in modules - WRITE_BAGS if not name.endswith('_node')]
    assert len(names) > 10
    subprocess.run([sys.executable, '-c', BLOCKED, *names], check=True)
