# SPDX-License-Identifier: Apache-2.0
"""Every rig that the contract is held against, and how each is started."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import sys

MODELS = Path(__file__).parents[1] / 'src' / 'hiwm_bringup' / 'models' / 'pusht'
WORLD_MODEL = ['ros2', 'run', 'hiwm_world_model', 'world_model', '--ros-args']
# A rig's name, and after a colon the backend that it is given instead of its own.
RIGS = {
    'sim_arm': ['ros2', 'run', 'hiwm_robot', 'sim_arm', '--ros-args'],
    'world_model': [*WORLD_MODEL, '-p', f'model:={MODELS / "world_model"}'],
    'world_model:sim_arm': [*WORLD_MODEL, '-p', 'backend:=sim_arm'],
    'dynamixel_arm': [sys.executable, '-m', 'test.dynamixel_rig'],
}
# Somebody's own, of the task pusht: HIWM_RIG='ros2 run PACKAGE RIG --ros-args'.
if os.environ.get('HIWM_RIG'):
    RIGS = {'own': shlex.split(os.environ['HIWM_RIG'])}
