# SPDX-License-Identifier: Apache-2.0
"""Makes what several tests share importable by its name."""

from __future__ import annotations

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))

from browser_desk import chromium, console, desk, operator  # noqa: F401
from tree_desk import page, rig  # noqa: F401
