# SPDX-License-Identifier: Apache-2.0
"""Which value of a LeRobot data set is which joint of the task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hiwm_core.error import HiwmError
from hiwm_core.lerobot_dataset import order_of

NAMES = ('left_waist', 'left_elbow', 'right_waist', 'right_elbow')
SETS: dict[str, tuple[Any, list[int] | str]] = {
    'by name': (['right_waist', 'right_elbow', 'left_waist', 'left_elbow'], [2, 3, 0, 1]),
    'by name in a mapping': ({'motors': list(NAMES)}, [0, 1, 2, 3]),
    'without names': (None, [0, 1, 2, 3]),
    'numbered': ([f'motor_{number}' for number in range(4)], [0, 1, 2, 3]),
    'the arms the other way round': (['right_1', 'right_2', 'left_1', 'left_2'], 'right_1'),
    'one misspelt': (['right_waist', 'right_elbow', 'left_wiast', 'left_elbow'], 'left_wiast'),
}


@pytest.mark.parametrize('given', SETS)
def test_no_joint_is_taken_for_another(given: str) -> None:
    names, expected = SETS[given]
    features = {'action': {'names': names, 'shape': [4]}}
    if isinstance(expected, str):
        with pytest.raises(HiwmError, match=expected):
            order_of(Path('set'), features, 'action', NAMES)
    else:
        assert order_of(Path('set'), features, 'action', NAMES).tolist() == expected
