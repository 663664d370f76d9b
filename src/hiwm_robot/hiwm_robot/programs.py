# SPDX-License-Identifier: Apache-2.0
"""The package's nodes as executables; see `hiwm_core.program`."""

from __future__ import annotations

from hiwm_core.program import program

scripted_operator = program('hiwm_robot.scripted_operator_node')
sim_arm = program('hiwm_robot.sim_arm_node')
