# SPDX-License-Identifier: Apache-2.0
"""What a rig shows after a step."""

from __future__ import annotations

from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray


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
        state: float64 (N,), what else a backend needs to continue from here exactly; may be empty.
    """

    frame: NDArray[np.uint8]
    joints: NDArray[np.float64]
    scene: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    progress: float = math.nan
    success: float = math.nan
    fidelity: float = math.nan
    state: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
