# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside the tests importable."""

from __future__ import annotations

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))
