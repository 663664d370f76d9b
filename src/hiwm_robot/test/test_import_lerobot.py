# SPDX-License-Identifier: Apache-2.0
"""What a LeRobot data set's numbers have to be, apart from LeRobot itself."""

from __future__ import annotations

import numpy as np
import pytest

from hiwm_core.error import HiwmError
from hiwm_core.task import load_task
from hiwm_robot.import_lerobot import check_units


def test_another_unit_is_named_and_not_clipped() -> None:
    task = load_task('pusht')
    slightly_outside = np.array([[0.1, 0.2], [0.1, task.action_high[1] + 0.01]])
    check_units(task, slightly_outside)
    millimetres = 1000.0 * np.array([[0.1, 0.2], [0.3, 0.2]])
    with pytest.raises(HiwmError, match=r"the action 'x' of the data set is 300 where"):
        check_units(task, millimetres)
