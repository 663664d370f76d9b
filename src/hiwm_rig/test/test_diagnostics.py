# SPDX-License-Identifier: Apache-2.0
"""What a rig says of its own times on /diagnostics."""

from __future__ import annotations

from collections.abc import Callable
import time

from live_rig import LiveRig
from test.probe import Probe

from hiwm_core import contract

Launch = Callable[..., LiveRig]


def told(probe: Probe) -> dict[str, float]:
    """The newest figures by name, milliseconds."""
    messages = probe.messages[contract.DIAGNOSTICS.name]
    values = messages[-1].status[0].values if messages else []
    return {entry.key: float(entry.value) for entry in values}


def test_an_answer_contains_its_step(launch: Launch) -> None:
    rig = launch(pace='lockstep', start='running')
    probe = rig.probe
    probe.until(lambda: probe.states, 'the first state')
    rig.backend.gate.clear()
    state = probe.state
    sent = time.monotonic()
    probe.send(probe.task.action_low, state)
    probe.until(rig.backend.entered.is_set, 'the step has begun')
    began = time.monotonic()
    # Some second of the diagnostics passes while the step is held up.
    heard = len(probe.messages[contract.DIAGNOSTICS.name])
    probe.until(
        lambda: len(probe.messages[contract.DIAGNOSTICS.name]) > heard + 1, 'the diagnostics'
    )
    assert 'step p50 (ms)' not in told(probe)
    held = (time.monotonic() - began) * 1e3
    rig.backend.gate.set()
    probe.until_step(state.step + 1)
    probe.until(lambda: 'answer p50 (ms)' in told(probe), 'the answer is told')
    whole = (time.monotonic() - sent) * 1e3
    figures = told(probe)
    # Three decimals are told.
    assert held - 0.001 <= figures['step p50 (ms)'] <= figures['answer p50 (ms)'] + 0.001
    assert figures['answer p50 (ms)'] <= whole
    for name in ('step', 'answer', 'action transport'):
        ranks = [figures[f'{name} p{rank} (ms)'] for rank in (50, 95, 99)]
        assert ranks == sorted(ranks)


def test_a_step_without_an_action_answers_none(launch: Launch) -> None:
    probe = launch(pace='realtime', start='running').probe
    probe.until_step(3)
    probe.until(lambda: 'step p50 (ms)' in told(probe), 'the steps are told')
    assert not [name for name in told(probe) if name.startswith('answer')]


def test_slow_motion_is_not_late(launch: Launch) -> None:
    rig = launch(start='running')
    probe = rig.probe
    probe.must(contract.SET_PACE, advance=0, speed=0.25)
    heard = len(probe.messages[contract.DIAGNOSTICS.name])
    probe.until(
        lambda: len(probe.messages[contract.DIAGNOSTICS.name]) > heard + 4, 'the diagnostics'
    )
    newest = probe.messages[contract.DIAGNOSTICS.name][heard + 1 :]
    assert {message.status[0].message for message in newest} == {'frames on time'}
