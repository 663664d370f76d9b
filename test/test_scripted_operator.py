# SPDX-License-Identifier: Apache-2.0
"""The scripted operator in a session: real rig, real multiplexer, and nothing to see but frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import time

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_rig.base_node import publisher, subscription
from test.probe import PATIENCE, Probe
from test.process import Process
from test.rigs import RIGS

CORRECT = contract.Service('/scripted_operator/correct', 'std_srvs/srv/Trigger')
MUX = ['ros2', 'run', 'hiwm_intervention', 'action_mux', '--ros-args']
SCRIPT = ['ros2', 'run', 'hiwm_robot', 'scripted_operator', '--ros-args']


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Probe]:
    """A simulated arm in lockstep that tells nobody its scene, and an operator who rolls back 5."""
    commands = {
        'rig': [*RIGS['sim_arm'], '-p', 'pace:=lockstep', '-p', 'seed:=2'],
        'mux': [*MUX, '-p', 'autonomous_at_start:=false'],
        'script': [
            *SCRIPT,
            '-p',
            'rollback_steps:=5',
            '-p',
            'resume:=false',
            # Whoever looks at the scene in the rig's state has nothing to look at.
            '-r',
            '/rig/state:=/rig/state_without_scene',
        ],
    }
    with Probe() as probe, ExitStack() as stack:
        without = contract.Topic(
            '/rig/state_without_scene', contract.RIG_STATE.type, contract.RIG_STATE.quality
        )
        blinded = publisher(probe.node, without)

        def blind(message: RigState) -> None:
            message.scene_names, message.scene_values = [], []
            message.progress = message.success = message.fidelity = float('nan')
            blinded.publish(message)

        subscription(probe.node, contract.RIG_STATE, blind)
        for name, command in commands.items():
            stack.enter_context(Process(command, tmp_path / name))
        probe.until(lambda: probe.state and probe.mux, 'rig and multiplexer are there')
        yield probe


def test_it_rolls_back_takes_over_solves_the_task_and_lets_go(session: Probe) -> None:
    probe = session
    probe.until(lambda: probe.mux.epoch == probe.state.epoch, 'the multiplexer sees the rig')
    probe.must(contract.STEP, count=8)
    probe.must(CORRECT)
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_CORRECTING, 'it drives')
    assert probe.mux.operator_id == 'script'
    assert not probe.call(CORRECT).success, 'it is at a correction already'
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_PAUSED, 'it lets go')
    assert 'release' in probe.mux.reason
    states = [state for state in probe.states if state.epoch == probe.state.epoch]
    assert min(state.step for state in states if not state.context) == 3, 'it rolled back first'
    assert any(state.success > 0.5 for state in states), 'the task was done'
    driven = [
        message
        for message in probe.messages[contract.RIG_EXECUTED.name]
        if message.epoch == probe.state.epoch and message.source == Source.OPERATOR
    ]
    assert len(driven) > 20
    assert {message.device for message in driven} == {'script'}


def test_somebody_else_stops_it(session: Probe) -> None:
    probe = session
    probe.must(CORRECT)
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_CORRECTING, 'it drives')
    event = Takeover.Request.EVENT_PAUSE
    probe.must(contract.TAKEOVER, event=event, operator_id='ada')
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_PAUSED, 'it is paused')
    deadline = time.monotonic() + PATIENCE
    while not probe.call(CORRECT).success:
        assert time.monotonic() < deadline, 'it is never free for another correction'
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_CORRECTING, 'it drives again')
