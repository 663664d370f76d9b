# SPDX-License-Identifier: Apache-2.0
"""Where the tool is for joint angles, and joint angles for where the tool is to be, from a URDF.

MuJoCo reads the URDF and gives pose and Jacobian in microseconds, which lets the control loop solve
anew in each of its turns. The inverse is damped least squares (Wampler 1986; Nakamura and Hanafusa
1986): position, and the direction of the tool's x axis; the turn about that axis is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError

FloatArray = NDArray[np.float64]

DAMPING = 0.02  # m; small against the arm's lengths, and it keeps steps finite near a stretched arm
# Metres that a radian of the tool's direction counts as, so that both weigh alike.
DIRECTION_WEIGHT = 0.1
LARGEST_STEP = 0.2  # rad of one iteration
ITERATIONS = 60
CLOSE = 1e-5  # m, at which the search ends
# What links without an inertia get; the kinematics do not depend on it, and MuJoCo asks for one.
LEAST_MASS, LEAST_INERTIA = 0.001, 1e-6


class Kinematics:
    """The chain of a URDF.

    Args:
        urdf: File.
        joints: Names of the joints, in the order of every array here; other joints stay at 0.
        tool: Name of the link.

    Attributes:
        aside: Names of the joints that do not move the tool.

    Raises:
        ConfigurationError: The file is not a URDF, or lacks a joint or the tool.
    """

    def __init__(self, urdf: Path, joints: Sequence[str], tool: str) -> None:
        self._model = load_urdf(urdf)
        names = [self._model.joint(index).name for index in range(self._model.njnt)]
        for name in joints:
            if name not in names:
                raise ConfigurationError(
                    f"the URDF {urdf} has no joint '{name}'; it has: {', '.join(names)}"
                )
        links = [self._model.body(index).name for index in range(self._model.nbody)]
        if tool not in links:
            raise ConfigurationError(
                f"the URDF {urdf} has no link '{tool}'; it has: {', '.join(links[1:])}"
            )
        self._data = mujoco.MjData(self._model)
        self._places = np.array(
            [int(self._model.jnt_qposadr[names.index(name)]) for name in joints], np.intp
        )
        self._dofs = np.array(
            [int(self._model.jnt_dofadr[names.index(name)]) for name in joints], np.intp
        )
        self._tool = links.index(tool)
        chain = {self._tool}
        while 0 not in chain:
            chain.add(int(self._model.body_parentid[min(chain)]))
        self.aside = tuple(
            name for name in joints if int(self._model.jnt_bodyid[names.index(name)]) not in chain
        )
        self._bias = np.zeros(self._model.nv)
        self._jacobian_p = np.zeros((3, self._model.nv))
        self._jacobian_r = np.zeros((3, self._model.nv))

    def tool_position(self, angles: FloatArray) -> FloatArray:
        """m (3,), of the tool's origin in the base frame, at joint angles (J,) in rad."""
        self._pose(angles)
        return np.array(self._data.xpos[self._tool])

    def tool_direction(self, angles: FloatArray) -> FloatArray:
        """(3,), the tool's x axis in the base frame."""
        self._pose(angles)
        return self._axis()

    def gravity_torques(self, angles: FloatArray) -> FloatArray:
        """N m (J,), what each joint has to give for the links' weight at rest; N where it slides.

        At zero velocity MuJoCo's bias force is gravity alone.
        """
        self._pose(angles)
        self._data.qvel[:] = 0.0
        mujoco.mj_rne(self._model, self._data, 0, self._bias)
        return np.array(self._bias[self._dofs])

    def solve(
        self,
        position: FloatArray,
        direction: FloatArray,
        seed: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> tuple[FloatArray, float]:
        """Joint angles near `seed` that bring the tool somewhere.

        Args:
            position: m (3,).
            direction: (3,), of length 1, where the tool's x axis is to point.
            seed: rad (J,), where the search begins.
            low: rad (J,), which no joint goes below.
            high: rad (J,), which no joint goes above.

        Returns:
            rad (J,), and how far the tool is from what was asked, in m (a radian of direction
            counts as `DIRECTION_WEIGHT`).
        """
        angles = np.clip(seed, low, high)
        best, least = angles, np.inf
        for _ in range(ITERATIONS):
            self._pose(angles)
            axis = self._axis()
            turn = np.cross(axis, direction)
            if axis @ direction < 0.0:
                # Beyond a right angle the sine falls again: turn on at full speed.
                turn = _unit(turn if turn @ turn > 1e-12 else np.array([0.0, 1.0, 0.0]))
            miss = np.concatenate([position - self._data.xpos[self._tool], DIRECTION_WEIGHT * turn])
            error = float(np.sqrt(miss @ miss))
            if error < least:
                best, least = angles, error
            if error < CLOSE:
                break
            jacobian = self._jacobian(axis)
            # A joint at its limit that is to go further is left out.
            step = _damped(jacobian, miss)
            blocked = ((angles <= low) & (step < 0.0)) | ((angles >= high) & (step > 0.0))
            if blocked.any():
                jacobian[:, blocked] = 0.0
                step = _damped(jacobian, miss)
            largest = float(np.abs(step).max())
            if largest > LARGEST_STEP:
                step *= LARGEST_STEP / largest
            angles = np.clip(angles + step, low, high)
        return best, least

    def _pose(self, angles: FloatArray) -> None:
        self._data.qpos[self._places] = angles
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)

    def _axis(self) -> FloatArray:
        return np.array(self._data.xmat[self._tool].reshape(3, 3)[:, 0])

    def _jacobian(self, axis: FloatArray) -> FloatArray:
        """(6, J): of the position, and of the direction without the turn about `axis`."""
        mujoco.mj_jacBody(self._model, self._data, self._jacobian_p, self._jacobian_r, self._tool)
        turning = self._jacobian_r[:, self._places]
        turning = turning - np.outer(axis, axis @ turning)
        return np.vstack([self._jacobian_p[:, self._places], DIRECTION_WEIGHT * turning])


def _damped(jacobian: FloatArray, miss: FloatArray) -> FloatArray:
    """The damped least-squares step; less damped the nearer the goal."""
    damping = min(DAMPING, float(np.sqrt(miss @ miss))) ** 2
    square = jacobian @ jacobian.T
    square[np.diag_indices_from(square)] += damping + 1e-10
    return np.asarray(jacobian.T @ np.linalg.solve(square, miss))


def _unit(vector: FloatArray) -> FloatArray:
    return vector / float(np.linalg.norm(vector))


def load_urdf(urdf: Path) -> mujoco.MjModel:
    """The links and joints of a file as MuJoCo's model, with gravity along the base's -z.

    Raises:
        ConfigurationError: It cannot be read, or is not a URDF of hinges and slides.
    """
    try:
        spec = mujoco.MjSpec.from_string(urdf.read_text(encoding='utf-8'))
        # Links that do not move keep their frames, and links without a mass are no error.
        spec.compiler.fusestatic = False
        spec.compiler.boundmass = LEAST_MASS
        spec.compiler.boundinertia = LEAST_INERTIA
        model = spec.compile()
    except OSError as error:
        raise ConfigurationError(f'the URDF {urdf} cannot be read: {error.strerror}') from error
    except (ValueError, mujoco.FatalError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigurationError(f'{urdf} is not a usable URDF: {reason}') from error
    if model.nq != model.njnt:
        raise ConfigurationError(f'the URDF {urdf} has a joint that neither turns nor slides')
    return model
