# SPDX-License-Identifier: Apache-2.0
"""An arm of Dynamixel X servos: bus, safety, kinematics, and the nodes `dynamixel_arm` and
`leader_arm`; and, in `emulator`, a bus of emulated servos to test all of it against.
"""
