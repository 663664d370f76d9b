# SPDX-License-Identifier: Apache-2.0
"""What every receiver of an action checks."""

from __future__ import annotations

import numpy as np
import pytest
from two_arms import NAMES

from hiwm_core.action import clip_values, read_values
from hiwm_core.error import HiwmError
from hiwm_core.task import Task


def test_values_are_matched_by_name(task: Task) -> None:
    values = read_values(task, NAMES[::-1], list(range(14)))
    assert values.tolist() == list(range(13, -1, -1))
    assert values.dtype == np.float64


@pytest.mark.parametrize(
    ('names', 'values', 'sentence'),
    [
        (NAMES, [0.0] * 13, 'has 14 names and 13 values; it needs one each'),
        (NAMES[:13], [0.0] * 13, "of task 'two_arms' names left_waist, .*; this one names left"),
        ([], [], 'this one names nothing'),
        ([*NAMES[:13], 'tail'], [0.0] * 14, 'this one names .*, tail'),
        ([*NAMES[:13], NAMES[0]], [0.0] * 14, 'this one names'),
        ([*NAMES, 'tail'], [0.0] * 15, 'this one names .*, tail'),
        (NAMES, [0.0] * 13 + [np.nan], 'value of right_gripper is not a finite number'),
        (NAMES, [np.inf, -np.inf] + [0.0] * 12, 'of left_waist, left_shoulder is not a finite'),
    ],
)
def test_what_cannot_be_read_is_refused(
    task: Task, names: list[str], values: list[float], sentence: str
) -> None:
    with pytest.raises(HiwmError, match=sentence):
        read_values(task, names, values)


def test_values_are_clipped_to_the_limits(task: Task) -> None:
    values = np.full(14, 9.0)
    values[:3] = (-9.0, 0.5, 1.25)
    clipped = clip_values(task, values)
    assert clipped[:4].tolist() == [-1.5, 0.5, 1.25, 1.25]
    assert values[0] == -9.0, 'what was sent is left as it is'
