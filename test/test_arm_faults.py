# SPDX-License-Identifier: Apache-2.0
"""Every kind of fault of an emulated bus in a whole session, and then the arm's node killed.

`python3 -m bench.arm_faults` makes a thousand, and sessions that end in other ways.
"""

from __future__ import annotations

from pathlib import Path
import random

import pytest

from test.dynamixel_rig import CONFIG
from test.faulty_arm import FAULTS, FaultyArm
from test.probe import watching

SEED = 5
pytestmark = pytest.mark.timeout(900)


def test_faults_of_every_kind_leave_goals_within_limits_and_end_without_torque(
    tmp_path: Path,
) -> None:
    kinds = [*FAULTS]
    random.Random(SEED).shuffle(kinds)
    with watching() as probe:
        arm = FaultyArm(tmp_path, probe, CONFIG, SEED)
        with arm.life():
            for kind in kinds:
                arm.make(kind)
            arm.make('arm node killed')
    assert len(arm.seen) == len(kinds) + 1
    assert arm.goals > len(arm.seen)
