# SPDX-License-Identifier: Apache-2.0
"""What counts as slower than real time."""

from __future__ import annotations

import pytest

from hiwm_rig.pace_watch import FIRST_STEPS, PaceWatch


@pytest.mark.parametrize(
    ('seconds', 'expected'),
    [
        ([0.15] * FIRST_STEPS, 0.15),
        ([0.9, 0.3, 0.2, 0.12, 0.11], 0.11),
        ([0.9, 0.3, 0.2, 0.12, 0.09], None),
        ([0.1] * FIRST_STEPS, None),
        ([0.01, *[5.0] * FIRST_STEPS], None),
    ],
)
def test_only_when_each_of_the_first_steps_is_late(
    seconds: list[float], expected: float | None
) -> None:
    watch = PaceWatch(0.1)
    told = [watch.took(each) for each in seconds]
    assert told[FIRST_STEPS - 1] == expected
    assert all(each is None for each in told[: FIRST_STEPS - 1])


def test_it_is_said_once() -> None:
    watch = PaceWatch(0.1)
    assert sum(watch.took(1.0) is not None for _ in range(5 * FIRST_STEPS)) == 1
