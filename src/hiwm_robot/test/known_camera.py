# SPDX-License-Identifier: Apache-2.0
"""A camera of which everything is known, over the table of Push-T."""

from __future__ import annotations

from hiwm_robot.camera.adapter_file import AdapterConfig, TablePose
from hiwm_robot.camera.lens import Lens

# As of a RealSense at 640x480, with the barrel of a cheap webcam.
LENS = Lens(640, 480, 605.0, 603.0, 322.5, 238.0, (0.11, -0.22, 0.0008, -0.0006, 0.05))
# Half a metre square in sight from 0.9 m above, aslant.
TABLE = TablePose((0.25, -0.12, 0.06), (-0.262, -0.215, 0.88))
OVERHEAD = AdapterConfig('overhead', 640, 480, lens=LENS, undistort=True, table=TABLE)
