# SPDX-License-Identifier: Apache-2.0
"""Makes the modules beside the tests importable."""

from __future__ import annotations

from pathlib import Path
import sys

from hiwm_robot.calibration.charuco import OLDEST, opencv_version

sys.path.insert(0, str(Path(__file__).parent))

# What OpenCV is refused for boards is tested with any; the rest needs one that is not.
collect_ignore = [] if opencv_version() >= OLDEST else ['test_calibrate_camera.py']
