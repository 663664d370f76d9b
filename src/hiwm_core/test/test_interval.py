# SPDX-License-Identifier: Apache-2.0
"""The interval of a rate, against published values."""

from __future__ import annotations

import numpy as np
import pytest

from hiwm_core.interval import wilson


@pytest.mark.parametrize(
    ('successes', 'trials', 'low', 'high'),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (40, 100, 0.3094, 0.4980),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilsons_interval(successes: int, trials: int, low: float, high: float) -> None:
    np.testing.assert_allclose(wilson(successes, trials), (low, high), atol=2e-4)
