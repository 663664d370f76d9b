# SPDX-License-Identifier: Apache-2.0
"""What the tests of the core share: a task with two arms, and a small backend."""

from __future__ import annotations

from pathlib import Path
import sys

import pytest

from hiwm_core.task import Task, parse_task

sys.path.insert(0, str(Path(__file__).parent))

from two_arms import TWO_ARMS


@pytest.fixture
def task() -> Task:
    """Two arms of seven joints and a towel between them."""
    return parse_task(TWO_ARMS, 'two_arms')
