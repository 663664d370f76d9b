# SPDX-License-Identifier: Apache-2.0
"""A backend that is slower than real time runs in lockstep, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from hiwm_msgs.msg import RigState
from live_rig import LiveRig, Pliable
import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core import contract

SENTENCE = 'so it cannot run in real time; it runs in lockstep from now on'


class Slow(Pliable):
    """Takes half as long again as the task's period for a step."""

    def step(
        self, states: NDArray[np.float64], actions: NDArray[np.float64], keys: Sequence[int]
    ) -> NDArray[np.float64]:
        time.sleep(1.5 * self._task.period)
        return super().step(states, actions, keys)


def test_a_slow_backend_runs_in_lockstep_and_says_so_once(
    launch: Callable[..., LiveRig], capfd: pytest.CaptureFixture[str]
) -> None:
    probe = launch(Slow, pace='realtime', start='running').probe
    slow = probe.until(
        lambda: probe.state.pace == RigState.PACE_LOCKSTEP and probe.state, 'lockstep'
    )
    assert slow.message.startswith('point_mass needs 0.15')
    assert slow.message.endswith(SENTENCE)
    assert slow.mode == RigState.MODE_RUNNING
    before = [state for state in probe.states if state.step < slow.step]
    assert {state.pace for state in before} == {RigState.PACE_REALTIME}
    # Time stands still now until an action answers the step; the camera shows it again and again.
    probe.until(lambda: [each.step for each in probe.states[-4:]] == [slow.step] * 4, 'a wait')
    middle = (probe.task.action_low + probe.task.action_high) / 2
    probe.drive_rig(np.repeat(middle[None], 3, axis=0))
    assert probe.state.step == slow.step + 3

    def warnings() -> list[Any]:
        return [
            status
            for array in probe.messages[contract.DIAGNOSTICS.name]
            for status in array.status
            if status.level == DiagnosticStatus.WARN and status.message.endswith(SENTENCE)
        ]

    probe.until(warnings, 'the diagnostics to say so')
    probe.must(contract.ROLLBACK, node=1)
    back = probe.until(lambda: probe.state.node == 1 and probe.state, 'the rollback')
    assert (back.pace, back.message) == (RigState.PACE_LOCKSTEP, '')
    assert capfd.readouterr().err.count(SENTENCE) == 1


def test_a_backend_that_is_fast_enough_stays_in_real_time(launch: Callable[..., LiveRig]) -> None:
    probe = launch(pace='realtime', start='running').probe
    probe.until(lambda: probe.states, 'the first state')
    state = probe.until_step(12)
    assert state.pace == RigState.PACE_REALTIME
    assert not state.message
