# SPDX-License-Identifier: Apache-2.0
"""Settings of every test: checked message fields, one torch thread, a ROS domain of its own."""

from __future__ import annotations

import os
from pathlib import Path
import sys

os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('SDL_VIDEODRIVER', 'dummy')
# Domains up to 101 are safe on every system; the process id keeps two test runs apart.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ.setdefault('ROS_LOG_DIR', str(Path('log/test').resolve()))
sys.path.insert(0, str(Path(__file__).resolve().parent))
