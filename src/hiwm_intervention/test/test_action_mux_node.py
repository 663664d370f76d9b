# SPDX-License-Identifier: Apache-2.0
"""The multiplexer on a live graph; the test says what rig, policy and operator would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
from mux_graph import MIDDLE, PATIENCE, SHIPPED, TASK, Graph
import numpy as np
import pytest
import rclpy
from std_msgs.msg import Bool
import yaml

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.error import ErrorCode
from hiwm_rig.base_node import interface, subscription


@pytest.fixture
def make_graph() -> Iterator[Callable[..., Graph]]:
    """Makes a graph, perhaps with another file for the multiplexer."""
    made: list[Graph] = []

    def make(config: str = '') -> Graph:
        arguments = ['--ros-args', '-p', f'config:={config}'] if config else []
        rclpy.init(args=arguments)
        made.append(Graph())
        return made[0]

    yield make
    for graph in made:
        graph.close()
    rclpy.try_shutdown()


@pytest.fixture
def graph(make_graph: Callable[..., Graph]) -> Graph:
    return make_graph()


def changed_settings(folder: Path, change: Callable[[dict[str, Any]], None]) -> str:
    """The path of a file that differs from the shipped one."""
    data = yaml.safe_load(SHIPPED.read_text())
    change(data)
    (folder / 'mux.yaml').write_text(yaml.safe_dump(data))
    return str(folder / 'mux.yaml')


def test_a_takeover_from_end_to_end(graph: Graph) -> None:
    graph.serve_rig()
    graph.show()
    graph.propose(Source.POLICY, np.array([0.3, 0.25]))
    graph.until_phase(MuxState.PHASE_AUTONOMOUS)
    graph.until(lambda: graph.sent, 'the policy is heard')
    sent = graph.sent[-1]
    assert (sent.source, sent.epoch, sent.observation_step) == (Source.POLICY, 1, 0)
    assert list(sent.names) == list(TASK.action_names)
    assert list(sent.values) == [0.3, 0.25]
    assert sent.device == 'policy'

    response = graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'ada')
    assert (response.success, response.phase) == (True, MuxState.PHASE_HANDOVER)
    graph.until_phase(MuxState.PHASE_HANDOVER)
    graph.show(step=1)
    graph.propose(Source.OPERATOR)
    state = graph.until_phase(MuxState.PHASE_CORRECTING)
    assert state.operator_id == 'ada'
    graph.until(lambda: graph.sent[-1].source == Source.OPERATOR, 'the operator is heard')
    assert graph.sent[-1].observation_step == 1

    response = graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'grace')
    assert (response.success, response.error_code) == (False, ErrorCode.TOKEN_HELD)
    assert response.phase == MuxState.PHASE_CORRECTING
    response = graph.ask(Takeover.Request.EVENT_RELEASE, 'ada')
    assert (response.success, response.phase) == (True, MuxState.PHASE_PAUSED)
    graph.until(lambda: graph.view.mode == RigState.MODE_PAUSED, 'the rig is paused')
    assert [message.seq for message in graph.sent] == list(range(len(graph.sent)))


def test_what_is_no_action_is_counted(graph: Graph) -> None:
    graph.serve_rig()
    graph.show()
    graph.propose(Source.POLICY)
    graph.until(lambda: graph.sent, 'the policy is heard')
    graph.show(step=1)
    wrong: list[dict[str, list[Any]]] = [
        {'values': [math.nan, 0.2]},
        {'names': ['x', 'z']},
        {'values': [0.2, 0.2, 0.2]},
    ]
    for changes in wrong:
        expected = graph.states[-1].rejected_actions + 1
        graph.propose(Source.POLICY, **changes)
        graph.until_rejected(expected)
    graph.until(lambda: len(graph.sent) == 2, 'the measured position is held')
    assert graph.sent[-1].source == Source.HOLD
    assert list(graph.sent[-1].values) == [0.25, 0.25]
    graph.until(lambda: graph.states[-1].holding, 'it is told')
    graph.show(step=2)
    graph.propose(Source.POLICY)
    graph.until(lambda: graph.sent[-1].source == Source.POLICY, 'the next good one is taken')


def test_a_wrong_request_is_answered(graph: Graph) -> None:
    response = graph.ask(77)
    assert (response.success, response.error_code) == (False, ErrorCode.INVALID_ARGUMENT)
    assert '77' in response.message
    response = graph.ask(Takeover.Request.EVENT_RELEASE, 'ada')
    assert (response.success, response.error_code) == (False, ErrorCode.ILLEGAL_EVENT)
    assert 'PAUSED' in response.message
    response = graph.ask(Takeover.Request.EVENT_RESUME)
    assert (response.success, response.error_code) == (False, ErrorCode.NOT_READY)
    assert response.phase == MuxState.PHASE_PAUSED


def test_an_emergency_stop_locks_until_it_is_released_and_reset(graph: Graph) -> None:
    graph.serve_rig()
    graph.show()
    graph.e_stop.publish(Bool(data=True))
    state = graph.until_phase(MuxState.PHASE_LOCKED)
    assert 'e_stop' in state.reason
    assert not graph.ask(Takeover.Request.EVENT_RESET).success
    graph.e_stop.publish(Bool(data=False))
    graph.until(lambda: graph.ask(Takeover.Request.EVENT_RESET).success, 'the reset is granted')
    graph.until_phase(MuxState.PHASE_PAUSED)


def test_a_rollback_pauses(graph: Graph) -> None:
    graph.serve_rig()
    graph.show()
    graph.propose(Source.POLICY)
    graph.until_phase(MuxState.PHASE_AUTONOMOUS)
    graph.until(lambda: graph.view.mode == RigState.MODE_RUNNING, 'the rig runs')
    graph.show(epoch=2, mode=RigState.MODE_PAUSED)
    graph.until(lambda: graph.states[-1].epoch == 2, 'the new epoch is known')
    assert graph.states[-1].phase == MuxState.PHASE_PAUSED


def test_a_question_for_the_wheel_is_shown(graph: Graph) -> None:
    graph.serve_rig()
    graph.show()
    graph.until(lambda: graph.states[-1].epoch == 1, 'the rig is seen')
    assert graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'ada').success
    response = graph.ask(Takeover.Request.EVENT_ASK, 'grace')
    assert (response.success, response.phase) == (True, MuxState.PHASE_HANDOVER)
    graph.until(lambda: graph.states[-1].asked_by == 'grace', 'the question is shown')
    assert graph.ask(Takeover.Request.EVENT_RELEASE, 'ada').phase == MuxState.PHASE_PAUSED
    graph.until(lambda: not graph.states[-1].asked_by, 'the question has ended')
    assert graph.states[-1].human_time > 0.0


def patient(data: dict[str, Any]) -> None:
    """Nobody is lost because this machine is busy."""
    for source in data['sources'].values():
        source['timeout'] = PATIENCE


def test_time_stands_still_while_the_operator_is_idle(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    graph = make_graph(changed_settings(tmp_path, patient))
    graph.serve_rig()
    graph.serve_pace()
    graph.show()
    graph.until(lambda: graph.states[-1].epoch == 1, 'the rig is seen')
    assert graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'ada').success
    graph.until(lambda: graph.view.mode == RigState.MODE_RUNNING, 'the rig runs')
    graph.propose(Source.OPERATOR, idle=True)
    graph.until_phase(MuxState.PHASE_CORRECTING)
    graph.until(lambda: graph.paces == [RigState.ADVANCE_ON_INPUT], 'the rig is asked')
    sent = len(graph.sent)
    graph.show(step=1)
    graph.propose(Source.OPERATOR, idle=True)
    graph.until(lambda: graph.states[-1].waiting, 'it waits')
    graph.propose(Source.OPERATOR, MIDDLE + 0.01)
    graph.until(lambda: len(graph.sent) == sent + 1, 'the motion is sent')
    assert graph.sent[-1].observation_step == 1
    # Told on another topic, which may come later.
    graph.until(lambda: not graph.states[-1].waiting, 'it waits no longer')
    assert graph.ask(Takeover.Request.EVENT_RELEASE, 'ada').success
    graph.until(lambda: graph.paces[-1] == RigState.ADVANCE_ALWAYS, 'time runs again')


def test_a_trigger_pauses_and_keeps_the_node_under_a_free_name(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    def change(data: dict[str, Any]) -> None:
        data['triggers']['fidelity'] = {'enabled': True, 'below': 0.5, 'steps': 2}

    graph = make_graph(changed_settings(tmp_path, change))
    graph.kept.append(('fidelity-0002', 1))
    graph.serve_rig()
    graph.serve_checkpoints()
    graph.show()
    graph.propose(Source.POLICY)
    graph.until_phase(MuxState.PHASE_AUTONOMOUS)
    graph.until(lambda: graph.view.mode == RigState.MODE_RUNNING, 'the rig runs')
    graph.show(step=1, node=11, fidelity=0.1)
    graph.propose(Source.POLICY)
    graph.show(step=2, node=12, fidelity=0.2)
    graph.until(lambda: len(graph.kept) == 2, 'the node is kept')
    assert graph.kept[-1] == ('fidelity-0002-2', 12)
    state = graph.until_phase(MuxState.PHASE_PAUSED)
    assert state.trigger == MuxState.TRIGGER_FIDELITY
    assert 'now 0.2' in state.reason


def test_an_actuated_leader_is_told_where_the_arm_is(
    make_graph: Callable[..., Graph], tmp_path: Path
) -> None:
    def change(data: dict[str, Any]) -> None:
        data['sources']['operator']['handover'] = 'actuated'

    graph = make_graph(changed_settings(tmp_path, change))
    graph.serve_rig()
    graph.show()
    graph.until(lambda: graph.states[-1].epoch == 1, 'the rig is seen')
    assert graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'ada').success
    graph.show()
    graph.until(lambda: graph.targets, 'the target is told')
    assert list(graph.targets[-1].name) == list(TASK.joint_names)
    assert list(graph.targets[-1].position) == [0.25, 0.25]


def test_a_device_that_no_source_names_is_ignored(
    make_graph: Callable[..., Graph], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def change(data: dict[str, Any]) -> None:
        data['sources']['operator']['devices'] = ['browser']

    graph = make_graph(changed_settings(tmp_path, change))
    graph.serve_rig()
    graph.show()
    graph.until(lambda: graph.states[-1].epoch == 1, 'the rig is seen')
    assert graph.ask(Takeover.Request.EVENT_TAKE_OVER, 'ada').success
    graph.propose(Source.OPERATOR, device='joystick')
    graph.propose(Source.OPERATOR, device='browser')
    graph.until_phase(MuxState.PHASE_CORRECTING)
    assert "names the device 'joystick'" in capfd.readouterr().err


def test_a_rig_that_refuses_is_reported(graph: Graph) -> None:
    graph.refusal = 'the gripper is jammed'
    graph.serve_rig()
    graph.show()
    assert graph.ask(Takeover.Request.EVENT_RESUME).success
    graph.until(lambda: 'jammed' in graph.states[-1].reason, 'the reason is told')
    assert graph.states[-1].phase == MuxState.PHASE_PAUSED


def test_a_rig_without_services_is_reported(graph: Graph) -> None:
    graph.show()
    graph.until(lambda: graph.states[-1].epoch == 1, 'the rig is seen')
    graph.ask(Takeover.Request.EVENT_RESUME)
    graph.until(lambda: contract.RESUME.name in graph.states[-1].reason, 'the reason is told')
    assert graph.states[-1].phase == MuxState.PHASE_PAUSED


def test_who_drives_is_latched(graph: Graph) -> None:
    late: list[MuxState] = []
    subscription(graph.node, contract.MUX_STATE, late.append)
    graph.until(lambda: late, 'a late listener hears it')
    assert interface(contract.MUX_STATE.type) is type(late[0])


def start(*parameters: str) -> subprocess.Popen[str]:
    """The node as a process of its own."""
    arguments = [part for parameter in parameters for part in ('-p', parameter)]
    return subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from hiwm_intervention.action_mux_node import main; main()',
            '--ros-args',
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )


@pytest.mark.parametrize(
    ('parameter', 'sentence'),
    [
        ('task:=juggling', "there is no task 'juggling'"),
        ('config:=/nowhere/mux.yaml', '/nowhere/mux.yaml cannot be read'),
        ('handover_timeout:=0.0', 'handover_timeout'),
    ],
)
def test_a_wrong_parameter_is_refused_with_one_sentence(parameter: str, sentence: str) -> None:
    process = start(parameter)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sentence in output
    assert 'Traceback' not in output


def test_an_interrupt_ends_it_quietly() -> None:
    process = start()
    assert process.stdout is not None
    assert 'sources: policy, operator' in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Traceback' not in output


def test_the_cores_need_no_ros() -> None:
    """A process in which rclpy and all messages are blocked imports every core of the package."""
    folder = Path(__file__).parents[1] / 'hiwm_intervention'
    cores = [
        'action_mux',
        'action_outlet',
        'mux_status',
        'operator_seat',
        'recorder',
        'rig_mode',
        'rig_pace',
        'slew_limit',
        'sources',
        'takeover',
        'trigger',
        'turn',
    ]
    assert all((folder / f'{name}.py').is_file() for name in cores)
    blocked = ['rclpy', 'hiwm_msgs', 'std_msgs', 'sensor_msgs', 'torch']
    program = '\n'.join(
        [
            'import sys',
            f'sys.modules.update(dict.fromkeys({blocked!r}))',
            *(f'import hiwm_intervention.{name}' for name in cores),
        ]
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
