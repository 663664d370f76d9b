# SPDX-License-Identifier: Apache-2.0
"""What a rig shows after a step."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import Task


@dataclass(frozen=True, eq=False)
class Observation:
    """One step's result, as every rig gives it.

    Attributes:
        frame: uint8 (H, W, 3), RGB, C-contiguous.
        joints: float64 (J,), the task's joints in their units.
        scene: float64 (S,), the task's scene variables in their units; empty where unknown.
        progress: The task's measure of success; NaN where unknown.
        success: Probability that the task is done in this frame; NaN where unknown.
        fidelity: How far the frame can be trusted, 0 to 1; physics says 1.
        state: float64 (Z,), the backend's state, from which it continues exactly; may be empty.
    """

    frame: NDArray[np.uint8]
    joints: NDArray[np.float64]
    scene: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    progress: float = math.nan
    success: float = math.nan
    fidelity: float = math.nan
    state: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def checked_observation(task: Task, observation: Observation) -> Observation:
    """A backend's observation in exactly the types above, so that it survives storage bit for bit.

    Raises:
        HiwmError: MODEL_FAULT: a shape is not the task's, or a joint is not finite.
    """
    frame = np.ascontiguousarray(observation.frame)
    if frame.dtype != np.uint8 or frame.shape != task.frame_shape:
        raise _fault(f'a frame {frame.shape} of {frame.dtype}', f'uint8 {task.frame_shape}')
    joints = _floats(observation.joints)
    if joints.shape != (len(task.joints),) or not np.isfinite(joints).all():
        raise _fault(f'joints {joints.tolist()}', f'{len(task.joints)} finite numbers')
    scene = _floats(observation.scene)
    if scene.shape not in {(0,), (len(task.scene),)}:
        raise _fault(f'a scene of shape {scene.shape}', f'{len(task.scene)} numbers or none')
    return Observation(
        frame=frame,
        joints=joints,
        scene=scene,
        progress=float(observation.progress),
        success=float(observation.success),
        fidelity=float(observation.fidelity),
        state=_floats(observation.state).ravel(),
    )


def _floats(values: ArrayLike) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, dtype=np.float64)


def _fault(given: str, needed: str) -> HiwmError:
    return HiwmError(f'the backend gave {given}; {needed} is needed', ErrorCode.MODEL_FAULT)
