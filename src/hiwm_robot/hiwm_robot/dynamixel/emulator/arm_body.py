# SPDX-License-Identifier: Apache-2.0
"""The links that hang on emulated servos: they have weight, and fall where nothing bears them.

MuJoCo moves the URDF's links. A servo that holds a position is where it is; any other turns by its
motor's current, the friction of its gears and a hand. A motor gives the torque constant times its
current, as long as its speed leaves voltage for it. Friction, damping and the rotor's inertia are
plausible shares of the model's stall torque, not measured ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

from hiwm_robot.dynamixel.arm_config import ArmConfig
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo
from hiwm_robot.dynamixel.kinematics import load_urdf

TIME_STEP = 0.002  # s
# Of the stall torque: what the gears take before they turn at all.
FRICTION = 0.05
# Of the stall torque, at top speed.
DAMPING = 0.1
# s that the rotor alone takes to its top speed with the stall torque.
ROTOR_TIME = 0.04
RIGID = 1e4  # kg m2, large against any arm
# rad, from which on a servo is elsewhere than its link: a hand has moved it.
BY_HAND = 1e-9


class ArmBody:
    """One arm's links.

    Args:
        config: The arm; its URDF has the masses.
        servos: One for each joint, in the joints' order.
        weight: Share of the URDF's weight that the links have.

    Raises:
        ConfigurationError: The URDF cannot be used.
    """

    def __init__(self, config: ArmConfig, servos: Sequence[EmulatedServo], weight: float) -> None:
        model = load_urdf(config.urdf)
        model.opt.timestep = TIME_STEP
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        model.opt.gravity[:] *= weight
        joints = [model.joint(joint.name).id for joint in config.joints]
        self._places = np.array([int(model.jnt_qposadr[joint]) for joint in joints])
        self._dofs = np.array([int(model.jnt_dofadr[joint]) for joint in joints])
        self._directions = np.array([float(joint.direction) for joint in config.joints])
        self._offsets = np.array([joint.offset for joint in config.joints])
        models = [servo.model for servo in servos]
        self._constants = np.array([each.torque_constant for each in models])
        self._stall_currents = np.array([each.stall_current for each in models])
        self._top_speeds = np.array([each.top_speed for each in models])
        stall_torques = self._constants * self._stall_currents
        model.dof_frictionloss[self._dofs] = FRICTION * stall_torques
        model.dof_damping[self._dofs] = DAMPING * stall_torques / self._top_speeds
        self._rotors = ROTOR_TIME * stall_torques / self._top_speeds
        self._model = model
        self._data = mujoco.MjData(model)
        self._servos = servos
        self._left = 0.0
        for servo in servos:
            servo.carried = True

    def advance(self, seconds: float) -> None:
        """Let time pass, and move the servos that hold no position."""
        self._left += seconds
        steps = int(self._left / TIME_STEP)
        if not steps:
            return
        self._left -= steps * TIME_STEP
        data, directions = self._data, self._directions
        held = np.array([servo.holds_position for servo in self._servos])
        angles = self._take_angles(held)
        # What holds its position bears what hangs on it, and is not moved by it.
        self._model.dof_armature[self._dofs] = np.where(held, RIGID, self._rotors)
        currents = np.array([servo.current for servo in self._servos])
        pushes = np.array([servo.push for servo in self._servos])
        for _ in range(steps):
            # Of the motor's voltage, what its speed takes.
            share = directions * data.qvel[self._dofs] / self._top_speeds
            least = (-1.0 - share) * self._stall_currents
            most = (1.0 - share) * self._stall_currents
            torques = self._constants * np.clip(currents, least, most) + pushes
            data.qfrc_applied[self._dofs] = directions * torques
            mujoco.mj_step(self._model, data)
            data.qpos[self._places[held]] = angles[held]
            data.qvel[self._dofs[held]] = 0.0
        turned = self._offsets + directions * data.qpos[self._places]
        speeds = directions * data.qvel[self._dofs]
        for servo, position, speed in zip(self._servos, turned, speeds, strict=True):
            if not servo.holds_position:
                servo.put(float(position), float(speed))

    def _take_angles(self, held: NDArray[np.bool_]) -> NDArray[np.float64]:
        """rad (J,), where the servos are, since a hand may have moved them."""
        positions = np.array([servo.position for servo in self._servos])
        speeds = np.array([servo.velocity for servo in self._servos])
        angles = self._directions * (positions - self._offsets)
        moved = held | (np.abs(angles - self._data.qpos[self._places]) > BY_HAND)
        self._data.qpos[self._places[moved]] = angles[moved]
        self._data.qvel[self._dofs[moved]] = (self._directions * speeds)[moved]
        return angles
