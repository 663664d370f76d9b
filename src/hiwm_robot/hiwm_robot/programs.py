# SPDX-License-Identifier: Apache-2.0
"""The package's nodes as executables; see `hiwm_core.program`."""

from __future__ import annotations

from hiwm_core.program import program

bus_emulator = program('hiwm_robot.dynamixel.emulator.program')
dynamixel_arm = program('hiwm_robot.dynamixel.dynamixel_arm_node')
leader_arm = program('hiwm_robot.dynamixel.leader_arm_node')
scripted_operator = program('hiwm_robot.scripted_operator_node')
sim_arm = program('hiwm_robot.sim_arm_node')
sim_camera = program('hiwm_robot.sim_camera_node')
