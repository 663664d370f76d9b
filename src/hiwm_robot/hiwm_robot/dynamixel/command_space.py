# SPDX-License-Identifier: Apache-2.0
"""What a task commands and what an arm's joints do: joint by joint, or two lengths on a table.

Which of the two it is follows from the names: a task that names joints of the arm (or its gripper)
is driven joint by joint, one that names the actions of the arm's plane is driven on it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_robot.dynamixel.arm_config import ArmConfig, Gripper, Plane
from hiwm_robot.dynamixel.kinematics import Kinematics

FloatArray = NDArray[np.float64]

GRIPPER = 'gripper'
# m; a solution that misses by more is none. A servo's count is 0.6 mm at the end of the arm.
LARGEST_MISS = 0.001


class CommandSpace(Protocol):
    """Between the task's values, in its order and units, and joint angles.

    Attributes:
        grips: Whether the gripper is one of the values.
    """

    grips: bool

    def to_angles(self, values: FloatArray, seed: FloatArray) -> FloatArray | None:
        """The joint angles (J,) in rad for values (A,), near `seed`; None: out of reach."""
        ...

    def to_values(self, angles: FloatArray) -> FloatArray:
        """The values (A,) that joint angles (J,) are."""
        ...


class JointSpace:
    """Each value is a joint's angle, or the opening of the gripper; other joints stay."""

    def __init__(self, task: Task, config: ArmConfig) -> None:
        self._gripper = config.gripper
        self._opens = [
            config.gripper is not None and name in {GRIPPER, config.gripper.joint}
            for name in task.action_names
        ]
        self.grips = any(self._opens)
        self._places = [
            config.names.index(config.gripper.joint if opens and config.gripper else name)
            for name, opens in zip(task.action_names, self._opens, strict=True)
        ]

    def to_angles(self, values: FloatArray, seed: FloatArray) -> FloatArray | None:
        """See `CommandSpace`; nothing is out of reach."""
        angles = np.array(seed)
        for value, place, opens in zip(values, self._places, self._opens, strict=True):
            angles[place] = self._opening(opens).angle_of(value) if opens else value
        return angles

    def to_values(self, angles: FloatArray) -> FloatArray:
        """See `CommandSpace`."""
        return np.array(
            [
                self._opening(opens).opening_of(angles[place]) if opens else angles[place]
                for place, opens in zip(self._places, self._opens, strict=True)
            ]
        )

    def _opening(self, opens: bool) -> Gripper:
        assert opens and self._gripper is not None
        return self._gripper


class PlanarSpace:
    """Two lengths on a table; the tool stands upright on it and the gripper keeps its opening."""

    grips = False

    def __init__(self, task: Task, config: ArmConfig, plane: Plane) -> None:
        self._kinematics = Kinematics(config.urdf, config.names, plane.tool)
        self._low, self._high = config.low, config.high
        if config.gripper is not None:
            # Squeezed between both limits, the gripper's joint takes no part in the search.
            place = config.names.index(config.gripper.joint)
            angle = config.gripper.angle_of(config.gripper.hold)
            self._low[place] = self._high[place] = angle
        order = [plane.actions.index(name) for name in task.action_names]
        self._axes = np.array([plane.x_axis, plane.y_axis])[order]
        self._origin = np.array(plane.origin)
        normal = np.cross(plane.x_axis, plane.y_axis)
        into = normal if normal[2] < 0.0 else -normal
        self._into = into / np.linalg.norm(into)
        self._inverse = np.linalg.pinv(self._axes.T)

    def to_angles(self, values: FloatArray, seed: FloatArray) -> FloatArray | None:
        """See `CommandSpace`."""
        position = self._origin + values @ self._axes
        angles, miss = self._kinematics.solve(position, self._into, seed, self._low, self._high)
        return angles if miss <= LARGEST_MISS else None

    def to_values(self, angles: FloatArray) -> FloatArray:
        """See `CommandSpace`: the tool's foot on the plane."""
        return np.asarray(self._inverse @ (self._kinematics.tool_position(angles) - self._origin))


def command_space(task: Task, config: ArmConfig) -> CommandSpace:
    """What the task's actions mean to this arm.

    Raises:
        ConfigurationError: They mean nothing to it, or its URDF cannot be used.
    """
    names = set(task.action_names)
    own = set(config.names) | ({GRIPPER} if config.gripper is not None else set())
    if names <= own:
        return JointSpace(task, config)
    plane = config.plane
    if plane is not None and names == set(plane.actions):
        return PlanarSpace(task, config, plane)
    driven = f'; on its plane {" and ".join(plane.actions)}' if plane is not None else ''
    raise ConfigurationError(
        f"task '{task.name}' commands {', '.join(task.action_names)}, which are no joints of the "
        f"arm '{config.name}': it has {', '.join(config.names)}{driven}; "
        'use the file of an arm with these joints, or give it a plane'
    )
