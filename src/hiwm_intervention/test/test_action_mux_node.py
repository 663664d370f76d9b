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
import threading
import time
from typing import Any

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.task import load_task
from hiwm_intervention.action_mux_node import ActionMuxNode
from hiwm_rig.base_node import client, interface, publisher, serve, subscription
from hiwm_rig.conversion import action_message, joint_message

PATIENCE = 20.0  # s, for what has to happen; never a measure of speed
TASK = load_task('pusht')
MIDDLE = np.array([0.25, 0.25])


class Graph:
    """The multiplexer's node beside one that plays everybody else."""

    def __init__(self) -> None:
        self.mux = ActionMuxNode()
        self.node = rclpy.create_node('everybody_else')
        self.sent: list[Any] = []
        self.states: list[MuxState] = []
        self.order: list[str] = []
        self.refusal = ''
        self.view = RigState(
            task='pusht',
            epoch=1,
            mode=RigState.MODE_PAUSED,
            pace=RigState.PACE_LOCKSTEP,
            period=TASK.period,
            can_pause=True,
        )
        self._change = threading.Condition()
        self._rig = publisher(self.node, contract.RIG_STATE)
        self._joints = publisher(self.node, contract.JOINT_STATES)
        self._sources = {
            Source.POLICY: publisher(self.node, contract.POLICY_ACTION),
            Source.OPERATOR: publisher(self.node, contract.OPERATOR_ACTION),
        }
        self.e_stop = self.node.create_publisher(Bool, '/e_stop', 1)
        subscription(self.node, contract.ACTION, self._keep(self.sent))
        subscription(self.node, contract.MUX_STATE, self._keep(self.states))
        self._takeover = client(self.node, contract.TAKEOVER)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.mux)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        publishers = [self._rig, self._joints, *self._sources.values(), self.e_stop]
        self.until(
            lambda: all(one.get_subscription_count() for one in publishers), 'the graph is joined'
        )

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self.mux.destroy_node()
        self.node.destroy_node()

    def _keep(self, kept: list[Any]) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            with self._change:
                kept.append(message)
                self._change.notify_all()

        return take

    def until(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        with self._change:
            while not (self.states and holds()):
                assert time.monotonic() < deadline, f'waited in vain until {what}'
                self._change.wait(0.05)

    def until_phase(self, phase: int) -> MuxState:
        self.until(lambda: self.states and self.states[-1].phase == phase, f'the phase is {phase}')
        return self.states[-1]

    def until_rejected(self, count: int) -> None:
        self.until(lambda: self.states[-1].rejected_actions == count, f'{count} are rejected')

    def serve_rig(self) -> None:
        """Pause and resume, as a rig serves them."""
        for service, mode in (
            (contract.PAUSE, RigState.MODE_PAUSED),
            (contract.RESUME, RigState.MODE_RUNNING),
        ):
            serve(self.node, service, self._set_mode(mode))

    def _set_mode(self, mode: int) -> Callable[[Any, Any], None]:
        def handle(request: Any, response: Any) -> None:
            if self.refusal:
                raise HiwmError(self.refusal, ErrorCode.MODEL_FAULT)
            self.view.mode = mode
            self.show()

        return handle

    def show(self, **changes: int) -> None:
        for name, value in changes.items():
            setattr(self.view, name, value)
        stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(joint_message(TASK.joint_names, MIDDLE, stamp))
        self.view.header.stamp = stamp
        self._rig.publish(self.view)

    def propose(self, source: Source, chosen: np.ndarray = MIDDLE, /, **changes: list[Any]) -> None:
        action = Action(chosen, source, self.view.epoch, self.view.step, source.name.lower())
        message = action_message(TASK, action, self.node.get_clock().now().to_msg())
        for name, value in changes.items():
            setattr(message, name, value)
        self._sources[source].publish(message)

    def ask(self, event: int, operator_id: str = '') -> Any:
        """Ask once the service is there."""
        assert self._takeover.wait_for_service(PATIENCE)
        future = self._takeover.call_async(Takeover.Request(event=event, operator_id=operator_id))
        self.until(future.done, 'the takeover service answers')
        return future.result()


@pytest.fixture
def graph() -> Iterator[Graph]:
    rclpy.init()
    made = Graph()
    yield made
    made.close()
    rclpy.try_shutdown()


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
        'mux_status',
        'recorder',
        'rig_mode',
        'slew_limit',
        'sources',
        'takeover',
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
