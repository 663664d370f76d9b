# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a rig: the task's simulator behind the rig contract."""

from __future__ import annotations

import sys

from hiwm_rig.base_node import run_node
from hiwm_rig.rig_node import RigNode
from hiwm_robot.sims import load_simulator


def main() -> None:
    """The executable `sim_arm`."""
    sys.exit(run_node(lambda: RigNode('sim_arm', lambda task, _: load_simulator(task))))
