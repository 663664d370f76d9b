# SPDX-License-Identifier: Apache-2.0
"""The package's nodes as executables; see `hiwm_core.program`."""

from __future__ import annotations

from hiwm_core.program import program

bus_emulator = program('hiwm_robot.dynamixel.emulator.program')
calibrate_camera = program('hiwm_robot.calibration.calibrate_camera_node')
calibrate_leader = program('hiwm_robot.calibration.calibrate_leader')
camera_adapter = program('hiwm_robot.camera.camera_adapter_node')
dynamixel_arm = program('hiwm_robot.dynamixel.dynamixel_arm_node')
leader_arm = program('hiwm_robot.dynamixel.leader_arm_node')
realsense_camera = program('hiwm_robot.camera.realsense_camera_node')
scripted_operator = program('hiwm_robot.scripted_operator_node')
set_up_servo = program('hiwm_robot.calibration.set_up_servo')
sim_arm = program('hiwm_robot.sim_arm_node')
sim_camera = program('hiwm_robot.sim_camera_node')
