# SPDX-License-Identifier: Apache-2.0
"""The leader's node on the graph: what it says of its servos, and what it is asked of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
import re
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from emulated_arm import CONFIG, READY, write_arm
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
import yaml

from hiwm_core import contract
from hiwm_core.contract import Quality
from hiwm_core.error import ConfigurationError
from hiwm_core.task import load_task
from hiwm_rig import emergency_stop
from hiwm_rig.base_node import profile_of
from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.emulator.program import emulated_bus
from hiwm_robot.dynamixel.emulator.serial_device import SerialDevice
from hiwm_robot.dynamixel.leader_arm_node import LeaderArmNode, check_gripper

PATIENCE = 60.0
LEADER = CONFIG.with_name('reference_leader.yaml')


class Graph:
    """A leader's node, somebody who asks and listens, and the servos behind a serial port."""

    def __init__(self, folder: Path, *parameters: str) -> None:
        data = yaml.safe_load(LEADER.read_text())
        data |= {'urdf': str(LEADER.with_name(data['urdf'])), 'port': str(folder / 'port')}
        data['safety'] |= {'watchdog': 5.0, 'bus_watchdog': 2.5}
        file = write_arm(folder, data)
        bus = emulated_bus(read_arm(file), angles=READY, weight=1.0)
        self.servos = bus.servos
        self._device = SerialDevice(bus, folder / 'port')
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        words = [word for each in (f'arm:={file}', *parameters) for word in ('-p', each)]
        rclpy.init(args=['--ros-args', *words])
        self.node = LeaderArmNode()
        self._asker = rclpy.create_node('asker')
        self._client = self._asker.create_client(SetBool, '/leader_arm/compensation')
        self._stops = {
            'e_stop': self._asker.create_publisher(
                Bool, emergency_stop.TOPIC, profile_of(contract.COMMAND)
            ),
            'console': self._asker.create_publisher(
                Bool, emergency_stop.CONSOLE_TOPIC, profile_of(contract.COMMAND)
            ),
            'latch': self._asker.create_publisher(
                Bool, emergency_stop.STATE_TOPIC, profile_of(Quality(latched=True))
            ),
        }
        self.said: dict[str, DiagnosticStatus] = {}
        self._asker.create_subscription(
            DiagnosticArray, contract.DIAGNOSTICS.name, self._listen, 10
        )
        self._executor = SingleThreadedExecutor()
        for node in (self.node, self._asker):
            self._executor.add_node(node)

    def _serve(self) -> None:
        while not self._ended.is_set():
            self._device.turn()

    def _listen(self, message: DiagnosticArray) -> None:
        self.said |= {status.name: status for status in message.status}

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Spin until `holds()`."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f'waited in vain until {what}'
            self._executor.spin_once(timeout_sec=0.02)

    def press(self, stop: str, level: bool) -> None:
        """A button, or an arm that has latched it."""
        publisher = self._stops[stop]
        self.until(publisher.get_subscription_count, 'the leader listens')
        publisher.publish(Bool(data=level))

    def ask(self, on: bool) -> SetBool.Response:
        """The service's answer."""
        self.until(self._client.service_is_ready, 'the service is there')
        future = self._client.call_async(SetBool.Request(data=on))
        self.until(future.done, 'the service answers')
        return future.result()

    def until_borne(self) -> None:
        """The servos bear it; on a busy machine they may let go at once, and are asked again."""
        deadline = time.monotonic() + PATIENCE
        while not self.torque:
            assert time.monotonic() < deadline, self.said
            assert self.ask(on=True).success
            again = time.monotonic() + 1.0
            self.until(lambda again=again: self.torque or time.monotonic() > again, 'it is borne')

    def until_leader(self, pattern: str) -> DiagnosticStatus:
        """The leader's status, once it says so."""
        name = 'leader_arm: leader'
        self.until(
            lambda: name in self.said and re.search(pattern, self.said[name].message),
            f'the leader says: {pattern}',
        )
        return self.said[name]

    @property
    def torque(self) -> bool:
        return any(servo.torque for servo in self.servos.values())

    def close(self) -> None:
        """Everything goes; the leader first."""
        for node in (self.node, self._asker):
            self._executor.remove_node(node)
            node.destroy_node()
        self._executor.shutdown()
        rclpy.try_shutdown()
        self._ended.set()
        self._thread.join(PATIENCE)
        self._device.close()


@pytest.fixture
def borne(tmp_path: Path) -> Iterator[Graph]:
    """A leader whose servos are to bear it."""
    graph = Graph(tmp_path, 'gravity_compensation:=true')
    yield graph
    graph.close()
    assert not graph.torque, 'a node that has gone leaves no torque'


@pytest.fixture
def limp(tmp_path: Path) -> Iterator[Graph]:
    """A leader as it is by default."""
    graph = Graph(tmp_path)
    yield graph
    graph.close()


def test_it_is_borne_let_go_and_borne_again_and_says_so(borne: Graph) -> None:
    borne.until_leader('^borne$')
    assert borne.said['leader_arm: servo 3 (elbow)'].level == DiagnosticStatus.OK
    answer = borne.ask(on=False)
    assert answer.success and answer.message == 'hold the leader: its servos let go'
    borne.until_leader('^limp$')
    assert not borne.torque
    borne.until_borne()
    borne.servos[3].heat = 45.0
    status = borne.until_leader(r'servo 3 \(elbow\) is at 70 degC')
    assert status.level == DiagnosticStatus.ERROR and not borne.torque
    named = borne.said['leader_arm: servo 3 (elbow)']
    assert named.level == DiagnosticStatus.ERROR and named.message == status.message


def test_a_fault_of_the_program_itself_takes_the_torque_off(borne: Graph) -> None:
    borne.until(lambda: borne.torque, 'the servos bear the arm')

    def fail() -> None:
        raise RuntimeError('a bug')

    borne.node._leader.read = fail
    status = borne.until_leader(r"the leader is read no more: RuntimeError\('a bug'\)")
    assert status.level == DiagnosticStatus.ERROR and not borne.torque


@pytest.mark.parametrize('stop', ['e_stop', 'console', 'latch'])
def test_an_emergency_stop_makes_it_limp(borne: Graph, stop: str) -> None:
    borne.until(lambda: borne.torque, 'the servos bear the arm')
    borne.press(stop, True)
    borne.until_leader('is limp, for the emergency stop is set; reset it')
    assert not borne.torque
    answer = borne.ask(on=True)
    assert not answer.success and answer.message == 'the emergency stop is set; reset it'
    borne.press(stop, False)
    borne.until(lambda: borne.ask(on=True).success, 'it may be borne again')
    borne.until_borne()


def test_a_gripper_that_the_task_commands_is_no_dead_man() -> None:
    task, config = load_task('pusht'), read_arm(LEADER)
    check_gripper(task, config)
    grips = replace(task, actions=(replace(task.actions[0], name='gripper'),))
    with pytest.raises(ConfigurationError, match='cannot be the dead-man as well'):
        check_gripper(grips, config)
    with pytest.raises(ConfigurationError, match='has no gripper to squeeze'):
        check_gripper(task, replace(config, gripper=None))


def test_without_compensation_it_never_has_torque(limp: Graph) -> None:
    limp.until_leader('^limp$')
    answer = limp.ask(on=True)
    assert not answer.success
    assert 'start it with gravity_compensation:=true' in answer.message
    assert not limp.torque
