# SPDX-License-Identifier: Apache-2.0
"""How sure a rate is."""

from __future__ import annotations

import math


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % confidence interval of a rate (Wilson 1927)."""
    if trials == 0:
        return (0.0, 1.0)
    rate = successes / trials
    spread = 1.0 + z * z / trials
    middle = (rate + z * z / (2 * trials)) / spread
    half = z / spread * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return (max(0.0, middle - half), min(1.0, middle + half))
