# SPDX-License-Identifier: Apache-2.0
"""What is a place in the picture, and can be dragged: positions, and no joint angles."""

from __future__ import annotations

from pathlib import Path
import sys

import numpy as np
import pytest

from hiwm_core.task import Task, load_task, parse_task
from hiwm_intervention.console_drag import Drag
from hiwm_intervention.console_marks import marks_of

sys.path.insert(0, str(Path(__file__).parents[2] / 'hiwm_core' / 'test'))

from two_arms import TWO_ARMS


@pytest.fixture
def arms() -> Task:
    return parse_task(TWO_ARMS, 'two_arms')


def test_joint_angles_are_no_places(arms: Task) -> None:
    assert not Drag(arms).possible
    assert marks_of(arms, np.zeros(14), np.zeros(14)) == []


def test_a_position_is_shown_where_it_is_and_can_be_dragged() -> None:
    task = load_task('pusht')
    assert Drag(task).possible
    (mark,) = marks_of(task, np.array([0.128, 0.256]), None)
    assert mark['measured'] == [0.25, 0.5]
    assert mark['commanded'] is None
