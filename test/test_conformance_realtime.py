# SPDX-License-Identifier: Apache-2.0
"""The rig contract in realtime: time goes on by itself, whoever is silent."""

from __future__ import annotations

from collections.abc import Iterator
import itertools

from hiwm_msgs.msg import RigState
import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_rig.conversion import nanoseconds_of
from test.probe import Probe, watching
from test.process import Process
from test.rigs import RIGS


@pytest.fixture(scope='module', params=RIGS)
def probe(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Probe]:
    """A rig in realtime, running from the start."""
    log = tmp_path_factory.mktemp(request.param) / 'log'
    command = [*RIGS[request.param], '-p', 'pace:=realtime', '-p', 'start:=running']
    with watching() as probe, Process(command, log):
        probe.until(lambda: probe.states, f'{request.param} shows itself')
        yield probe


def test_frames_come_at_the_tasks_rate(probe: Probe) -> None:
    probe.must(contract.RESUME)
    first = len(probe.states)
    probe.until(lambda: len(probe.states) >= first + 31, 'thirty frames come')
    stamps = [nanoseconds_of(state.header.stamp) for state in probe.states[first : first + 31]]
    # Half a period either way: the stamps are the rig's own, but the machine may be busy.
    assert np.median(np.diff(stamps)) / 1e9 == pytest.approx(probe.task.period, rel=0.5)
    steps = [state.step for state in probe.states[first : first + 31]]
    assert steps == list(range(steps[0], steps[0] + 31)), 'every frame is one step on'


def test_without_actions_the_measured_position_is_held(probe: Probe) -> None:
    probe.must(contract.RESUME)
    probe.until_step(probe.state.step + 3)
    before = probe.messages[contract.JOINT_STATES.name][-1].position
    probe.until_step(probe.state.step + 10)
    assert probe.messages[contract.RIG_EXECUTED.name][-1].source == Source.HOLD
    after = probe.messages[contract.JOINT_STATES.name][-1].position
    np.testing.assert_allclose(after, before, atol=2e-3)


def test_an_action_is_held_for_one_period_and_not_longer(probe: Probe) -> None:
    probe.must(contract.RESUME)
    state = probe.state
    position = np.array(probe.messages[contract.JOINT_STATES.name][-1].position)
    probe.send(position, state)
    probe.until_step(state.step + 5)
    first = len(probe.messages[contract.RIG_EXECUTED.name])
    probe.until(
        lambda: len(probe.messages[contract.RIG_EXECUTED.name]) > first, 'another step is taken'
    )
    taken = [
        message
        for message in probe.messages[contract.RIG_EXECUTED.name]
        if message.source == Source.OPERATOR and message.observation_step == state.step
    ]
    assert 1 <= len(taken) <= 2
    assert probe.messages[contract.RIG_EXECUTED.name][-1].source == Source.HOLD


def test_a_paused_rig_shows_the_same_node_like_a_camera(probe: Probe) -> None:
    probe.must(contract.RESUME)
    probe.until_step(probe.state.step + 2)
    step = probe.must(contract.PAUSE).step
    probe.until(lambda: probe.state.mode == RigState.MODE_PAUSED, 'the rig is paused')
    first = len(probe.states)
    probe.until(lambda: len(probe.states) >= first + 5, 'frames still come')
    shown = probe.states[first:]
    assert {state.step for state in shown} == {step}
    assert len({state.node for state in shown}) == 1
    stamps = [nanoseconds_of(state.header.stamp) for state in shown]
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
