# SPDX-License-Identifier: Apache-2.0
"""Time stands still while the operator thinks: real rig, real multiplexer, in realtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np
import pytest
import yaml

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_rig.conversion import action_message
from test.probe import PATIENCE, Probe
from test.process import Process
from test.rigs import RIGS

CONFIG = Path('src/hiwm_intervention/config/action_mux.yaml')


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Probe]:
    """A simulated arm and a multiplexer that loses nobody because this machine is busy."""
    data = yaml.safe_load(CONFIG.read_text())
    data['sources']['operator']['timeout'] = PATIENCE
    config = tmp_path / 'mux.yaml'
    config.write_text(yaml.safe_dump(data))
    mux = ['ros2', 'run', 'hiwm_intervention', 'action_mux', '--ros-args']
    commands = {
        'rig': [*RIGS['sim_arm'], '-p', 'pace:=realtime'],
        'mux': [*mux, '-p', 'autonomous_at_start:=false', '-p', f'config:={config}'],
    }
    with Probe() as probe, ExitStack() as stack:
        for name, command in commands.items():
            stack.enter_context(Process(command, tmp_path / name))
        probe.until(lambda: probe.mux.epoch == probe.state.epoch, 'the multiplexer sees the rig')
        yield probe


def operator(probe: Probe) -> Callable[..., None]:
    """Sends what an operator's page sends, in answer to the newest step."""
    joints = probe.until(
        lambda: probe.messages[contract.JOINT_STATES.name][-1], 'the joints are heard'
    )
    start = probe.task.hold_action(np.array(joints.position))
    action = Action(start, Source.OPERATOR, 0, 0, 'browser')

    def send(ahead: float, *, idle: bool) -> None:
        nonlocal action
        state = probe.state
        values = start + ahead
        action = replace(
            action, values=values, epoch=state.epoch, step=state.step, seq=action.seq + 1, idle=idle
        )
        stamp = probe.node.get_clock().now().to_msg()
        probe.operator.publish(action_message(probe.task, action, stamp))

    return send


def test_nothing_moves_without_a_motion_and_everything_with_one(session: Probe) -> None:
    probe = session
    send = operator(probe)
    event = Takeover.Request
    probe.must(contract.TAKEOVER, event=event.EVENT_TAKE_OVER, operator_id='ada')

    def thinks() -> bool:
        send(0.0, idle=True)
        return probe.mux.waiting

    probe.until(thinks, 'time stands still')
    assert probe.state.advance == RigState.ADVANCE_ON_INPUT
    # A step that had begun when time stopped may be heard after the multiplexer says that it has.
    heard = len(probe.states)
    probe.until(lambda: len(probe.states) > heard + 1, 'a step that had begun is over')
    shown, step = len(probe.states), probe.state.step
    human = probe.mux.human_time

    def thinks_long() -> bool:
        send(0.0, idle=True)
        return len(probe.states) >= shown + 10

    probe.until(thinks_long, 'the frame is shown ten times more')
    assert {state.step for state in probe.states[shown:]} == {step}
    assert probe.mux.phase == MuxState.PHASE_CORRECTING

    def drives() -> bool:
        send(0.02, idle=False)
        return probe.state.step >= step + 5

    probe.until(drives, 'the arm is driven')
    executed = [
        message
        for message in probe.messages[contract.RIG_EXECUTED.name]
        if message.observation_step >= step
    ]
    assert {message.source for message in executed} == {Source.OPERATOR}, 'no hold came between'
    probe.must(contract.TAKEOVER, event=event.EVENT_RELEASE, operator_id='ada')
    probe.until(lambda: probe.state.advance == RigState.ADVANCE_ALWAYS, 'time runs always again')
    assert probe.mux.human_time > human
