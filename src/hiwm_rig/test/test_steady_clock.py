# SPDX-License-Identifier: Apache-2.0
"""Timers go on when the system's time is set back."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCES = Path(__file__).parents[2]


def test_no_timer_hangs_on_a_clock_that_can_be_set() -> None:
    """The clock of a machine cannot be set in a test, so the sources are looked through."""
    calls = [
        (path.name, call)
        for path in sorted(SOURCES.glob('*/hiwm_*/**/*.py'))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, 'attr', '') == 'create_timer'
    ]
    assert len(calls) > 10
    for name, call in calls:
        clocks = [ast.unparse(word.value) for word in call.keywords if word.arg == 'clock']
        assert clocks == ['STEADY_CLOCK'], f'{name}:{call.lineno}'
