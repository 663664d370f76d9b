# SPDX-License-Identifier: Apache-2.0
"""A leader arm on an emulated bus drives a simulated arm, through the multiplexer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
import subprocess

from hiwm_msgs.msg import MuxState
import numpy as np
import pytest
import yaml

from hiwm_core import contract
from hiwm_core.action import Source
from test.dynamixel_rig import CONFIG, emulator, patient_arm
from test.probe import PATIENCE, Probe
from test.process import Process
from test.rigs import RIGS

MUX_CONFIG = Path('src/hiwm_intervention/config/action_mux.yaml')
# Where the leader's tool stands on its own plane; see `dynamixel_rig.READY`.
LEADER_AT = np.array([0.256, 0.256])
# rad of the gripper's servo.
SQUEEZED, OPEN = 3.14, 4.14


@pytest.fixture
def session(tmp_path: Path) -> Iterator[tuple[Probe, subprocess.Popen[str]]]:
    """A simulated arm, a multiplexer and a leader with an open hand."""
    data = yaml.safe_load(MUX_CONFIG.read_text())
    data['sources']['leader']['timeout'] = PATIENCE
    (tmp_path / 'mux.yaml').write_text(yaml.safe_dump(data))
    leader = patient_arm(tmp_path, CONFIG.with_name('reference_leader.yaml'))
    mux = ['ros2', 'run', 'hiwm_intervention', 'action_mux', '--ros-args']
    device = ['ros2', 'run', 'hiwm_robot', 'leader_arm', '--ros-args']
    with Probe() as probe, ExitStack() as stack:
        servos = stack.enter_context(emulator(leader, tmp_path / 'port'))
        put(servos, OPEN)
        for name, command in {
            'rig': [*RIGS['sim_arm'], '-p', 'pace:=realtime'],
            'mux': [
                *mux,
                '-p',
                'autonomous_at_start:=false',
                '-p',
                f'config:={tmp_path / "mux.yaml"}',
            ],
            'leader': [*device, '-p', f'arm:={leader}', '-p', 'operator_id:=anna'],
        }.items():
            stack.enter_context(Process(command, tmp_path / name))
        probe.until(lambda: probe.mux.epoch == probe.state.epoch, 'the multiplexer sees the rig')
        yield probe, servos


def put(servos: subprocess.Popen[str], angle: float) -> None:
    """Move the gripper's trigger by hand."""
    assert servos.stdin is not None and servos.stdout is not None
    servos.stdin.write(f'put 6 {angle}\n')
    servos.stdin.flush()
    assert servos.stdout.readline() == 'ok\n'


def test_who_squeezes_the_leader_drives_and_who_lets_go_stops(
    session: tuple[Probe, subprocess.Popen[str]],
) -> None:
    probe, servos = session
    samples = probe.messages[contract.OPERATOR_ACTION.name]
    probe.until(lambda: samples, 'the leader tells where it is')
    assert samples[-1].device == 'leader' and not samples[-1].deadman
    np.testing.assert_allclose(samples[-1].values, LEADER_AT, atol=2e-3)
    assert probe.mux.phase == MuxState.PHASE_PAUSED

    put(servos, SQUEEZED)
    probe.until(lambda: probe.mux.operator_id == 'anna', 'anna has the wheel')
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_CORRECTING, 'the arm has slid to her')
    probe.until(
        lambda: np.allclose(
            probe.messages[contract.JOINT_STATES.name][-1].position, LEADER_AT, atol=0.02
        ),
        "the arm is where the leader's tool is",
    )
    executed = probe.messages[contract.RIG_EXECUTED.name]
    probe.until(lambda: executed[-1].source == Source.OPERATOR, 'her own actions are executed')
    steps = np.diff([message.values for message in executed], axis=0)
    assert (np.abs(steps) <= probe.task.action_max_step + 1e-6).all(), 'nothing has jumped'

    put(servos, OPEN)
    probe.until(lambda: probe.mux.phase == MuxState.PHASE_PAUSED, 'the open hand stops')
    assert probe.mux.operator_id == ''
