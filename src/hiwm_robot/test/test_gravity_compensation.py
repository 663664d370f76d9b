# SPDX-License-Identifier: Apache-2.0
"""A leader whose servos bear it: what it does in a hand, let go of, and when something is wrong.

Its links fall, and its servos are asked, through the vendor's own SDK.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emulated_arm import CONFIG as FOLLOWER
import numpy as np
import pytest
import yaml

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import load_task
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.arm_safety import Measured
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.command_space import command_space
from hiwm_robot.dynamixel.control_table import HardwareError, OperatingMode
from hiwm_robot.dynamixel.emulator.program import emulated_bus
from hiwm_robot.dynamixel.emulator.virtual_port import VirtualPort
from hiwm_robot.dynamixel.gravity import GravityCompensation
from hiwm_robot.dynamixel.leader import RAMP, Leader
from hiwm_robot.dynamixel.leader_diagnostics import leader_statuses
from hiwm_robot.dynamixel.leader_phase import LeaderEvent, LeaderPhase, after
from hiwm_robot.dynamixel.leader_watch import LeaderWatch

CONFIG = FOLLOWER.with_name('reference_leader.yaml')
TASK = load_task('pusht')
# Stretched out, over the table, half up. The gripper is half open.
POSES = ([0, 0, 0, 0, 0, 0.5], [0, -1.0, 1.98, 0.59, 0, 0.5], [0.5, -0.5, 0.5, 0.3, 0.4, 0.5])
ABOVE_TABLE = POSES[1]
WAIST, SHOULDER, ELBOW, GRIPPER = 0, 1, 2, 5
# Links are never what a URDF says.
HEAVIER = 1.05


def reference() -> dict[str, Any]:
    """The reference leader's file as data, to be changed."""
    data: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    data['urdf'] = str(CONFIG.with_name(data['urdf']))
    return data


def leader_file(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A changed leader's file."""
    data = reference()
    change(data)
    path = folder / 'leader.yaml'
    path.write_text(yaml.safe_dump(data))
    return path


class HeldLeader:
    """A leader with weight in somebody's hand, in made-up time.

    Args:
        pose: rad, of every joint, where the hand holds it.
        weight: Of its links, as a share of the URDF's.
    """

    def __init__(
        self,
        pose: list[float],
        config: ArmConfig | None = None,
        *,
        weight: float = HEAVIER,
        able: bool = True,
    ) -> None:
        self.config = config = config or read_arm(CONFIG)
        self.pose = np.array(pose)
        self.bus = emulated_bus(config, angles=list(pose), weight=weight)
        self.port = VirtualPort(self.bus)
        self.leader = Leader(
            config,
            ServoBus(self.port, dict(zip(config.servos, config.names, strict=True))),
            command_space(TASK, config),
            GravityCompensation(config) if able else None,
            clock=self.port.clock,
            sleep=self.port.sleep,
        )
        self.leader.connect()
        self._next = 0.0

    def borne(self) -> HeldLeader:
        """Its servos bear it; the hand is still there until they do wholly."""
        self.leader.bear(True)
        self.turns(2.0 * RAMP, held=True)
        assert self.leader.phase is LeaderPhase.BORNE, self.leader.message
        return self

    def turns(self, seconds: float, *, held: bool = False) -> None:
        """Readings at the leader's rate for so long."""
        for _ in range(round(seconds * self.config.rate)):
            if held:
                for joint, angle in zip(self.config.joints, self.pose, strict=True):
                    servo = self.bus.servos[joint.servo]
                    servo.put(joint.offset + joint.direction * float(angle))
            self.leader.read()
            self._next = max(self._next + 1.0 / self.config.rate, self.port.now)
            self.port.sleep(self._next - self.port.now)

    def servo(self, joint: int) -> Any:
        return self.bus.servos[self.config.servos[joint]]

    def push(self, joint: int, torque: float) -> None:
        """A hand turns one joint with so many N m, and no other."""
        self.servo(joint).push = self.config.joints[joint].direction * torque

    @property
    def angles(self) -> np.ndarray:
        """rad, where the joints really are."""
        return np.array(
            [
                joint.direction * (self.bus.servos[joint.servo].position - joint.offset)
                for joint in self.config.joints
            ]
        )

    @property
    def moved(self) -> np.ndarray:
        """degrees, from the pose in which it was held; of all joints but the gripper."""
        return np.degrees(np.abs(self.angles - self.pose))[:GRIPPER]

    @property
    def torque(self) -> list[bool]:
        return [servo.torque for servo in self.bus.servos.values()]

    @property
    def currents(self) -> list[float]:
        return [servo.current for servo in self.bus.servos.values()]


# -- released, and moved -------------------------------------------------------------------------


@pytest.mark.parametrize('pose', POSES)
def test_released_it_stays_where_it_falls_without(pose: list[float]) -> None:
    limp = HeldLeader(pose, able=False)
    limp.turns(0.8)
    assert limp.moved.max() > 20.0
    borne = HeldLeader(pose).borne()
    borne.turns(3.0)
    assert borne.moved.max() < 3.0, borne.moved
    assert limp.torque == [False] * 6


def test_a_hand_moves_it_and_it_stays_there() -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    for joint, torque in ((SHOULDER, -0.12), (ELBOW, 0.1), (WAIST, 0.1)):
        before = held.angles[joint]
        held.push(joint, torque)
        held.turns(0.5)
        held.push(joint, 0.0)
        held.turns(0.3)
        after_push = held.angles[joint]
        assert np.degrees(after_push - before) * np.sign(torque) > 8.0
        held.turns(1.0)
        assert abs(np.degrees(held.angles[joint] - after_push)) < 2.0


def test_the_currents_come_slowly_and_never_from_the_mode_itself() -> None:
    """A change of the mode sets the goal current to all that a servo may draw."""
    held = HeldLeader(POSES[0])
    largest = [0.0]
    receive = held.bus.receive

    def watched(*data: Any) -> Any:
        answers = receive(*data)
        largest.append(max(map(abs, held.currents)))
        return answers

    held.bus.receive = watched  # type: ignore[method-assign]
    held.leader.bear(True)
    held.turns(0.1, held=True)
    assert held.torque == [False, True, True, True, True, True], 'the waist bears nothing'
    assert 0.0 < max(largest) < 0.3
    held.turns(1.0, held=True)
    assert max(largest) == pytest.approx(0.91, abs=0.02)


def test_the_spring_opens_the_gripper_and_no_further(tmp_path: Path) -> None:
    held = HeldLeader([0, -1.0, 1.98, 0.59, 0, 0.05]).borne()
    held.turns(1.5)
    assert held.config.gripper is not None
    assert 0.8 < held.config.gripper.opening_of(held.angles[GRIPPER]) < 1.05
    without = leader_file(tmp_path, lambda data: data['compensation'].pop('spring'))
    held = HeldLeader([0, -1.0, 1.98, 0.59, 0, 0.05], read_arm(without)).borne()
    assert held.torque == [False, True, True, True, True, False]
    held.turns(1.0)
    assert abs(held.angles[GRIPPER] - 0.05) < 0.1


def test_no_current_is_beyond_its_limit(tmp_path: Path) -> None:
    def double(data: dict[str, Any]) -> None:
        data['compensation']['factors']['shoulder'] = 2.0

    held = HeldLeader(POSES[0], read_arm(leader_file(tmp_path, double))).borne()
    assert abs(held.servo(SHOULDER).current) == pytest.approx(0.95)
    assert held.servo(SHOULDER).value(table.CURRENT_LIMIT) == 950
    assert held.servo(SHOULDER).value(table.OPERATING_MODE) == OperatingMode.CURRENT
    status = leader_statuses('leader_arm', held.leader)[0]
    assert status.message.startswith('servo 2 (shoulder) needs 1.8')
    assert 'more than its limit of 0.95 A: the arm sinks here' in status.message


# -- what ends it --------------------------------------------------------------------------------


def harm_heat(held: HeldLeader) -> None:
    held.servo(ELBOW).heat = 45.0


def harm_speed(held: HeldLeader) -> None:
    held.push(WAIST, 3.0)


def harm_servo(held: HeldLeader) -> None:
    held.servo(ELBOW).fail(HardwareError.OVERLOAD)


def harm_wire(held: HeldLeader) -> None:
    held.bus.faults.missing = frozenset({3})


def harm_host(held: HeldLeader) -> None:
    held.port.sleep(0.5)


@pytest.mark.parametrize(
    ('harm', 'sentence'),
    [
        (harm_heat, 'servo 3 (elbow) is at 70 degC, the limit is 65; let it cool'),
        (harm_speed, 'servo 1 (waist) turned at'),
        (harm_servo, 'servo 3 (elbow) reports a hardware error: overload; look to it'),
        (harm_wire, 'servo 3 (elbow) on virtual does not answer; check its cable'),
        (harm_host, 'servo 2 (shoulder) heard nothing for 0.2 s and let go by itself'),
    ],
)
def test_what_is_wrong_lets_go_until_it_is_told_to_bear_again(
    harm: Callable[[HeldLeader], None], sentence: str
) -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    harm(held)
    for _ in range(10):
        held.turns(0.1)
        if held.leader.phase is LeaderPhase.FAULT:
            break
    assert sentence in held.leader.message
    assert held.leader.message.startswith("the leader 'reference_leader' is limp, for ")
    assert held.leader.message.endswith('; then switch its compensation on again')
    assert leader_statuses('leader_arm', held.leader)[0].message == held.leader.message
    held.turns(0.3)
    if harm is harm_wire:
        # Who hears nothing is free by its own watchdog.
        assert held.servo(ELBOW).value(table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED
        assert held.currents[ELBOW] == 0.0
        held.bus.faults.missing = frozenset()
    else:
        assert not any(held.torque)
    for servo in held.bus.servos.values():
        servo.heat = servo.push = 0.0
    held.turns(0.5)
    assert held.leader.phase is LeaderPhase.FAULT, 'nothing but a person leads out'
    assert not any(held.currents)
    held.borne()
    assert held.leader.message == ''


def test_a_port_that_was_lost_and_is_back_finds_no_torque() -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    held.port.unplugged = True
    held.turns(0.1)
    assert held.leader.phase is LeaderPhase.FAULT
    assert 'the port virtual has vanished' in held.leader.message
    held.port.sleep(0.3)
    assert not any(held.currents), 'each servo let go by itself'
    held.port.unplugged = False
    held.turns(1.5)
    assert held.leader.pose is not None
    assert not any(held.torque) and held.leader.phase is LeaderPhase.FAULT
    held.borne()


def test_a_current_beyond_its_limit_is_no_peak() -> None:
    config = read_arm(CONFIG)
    watch = LeaderWatch(config)
    count = len(config.joints)
    measured = Measured(
        angles=np.zeros(count),
        speeds=np.zeros(count),
        currents=np.array([0.0, 1.2, 0.0, 0.0, np.nan, 0.0]),
        voltages=np.full(count, 5.0),
        temperatures=np.full(count, 30.0),
        alerts=np.zeros(count, bool),
    )
    assert watch.fault(measured, 0.2) == ''
    assert 'servo 2 (shoulder) has drawn 1.20 A for 0.3 s' in watch.fault(measured, 0.2)


def test_told_to_and_closed_it_lets_go() -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    held.leader.bear(False)
    held.turns(0.04)
    assert not any(held.torque) and held.leader.phase is LeaderPhase.LIMP
    held.borne()
    held.leader.close()
    assert not any(held.torque) and not held.port.is_open


@pytest.mark.parametrize('silent', [False, True])
def test_an_emergency_stop_lets_go_until_it_is_reset_and_the_arm_is_told_to_bear_again(
    silent: bool,
) -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    if silent:
        harm_wire(held)
    held.leader.stop(True)
    held.turns(0.04)
    assert held.leader.phase is LeaderPhase.FAULT
    assert held.leader.message == (
        "the leader 'reference_leader' is limp, for the emergency stop is set; reset it; then "
        'switch its compensation on again'
    )
    held.bus.faults.missing = frozenset()
    # The one that did not hear it lets go by its own watchdog.
    assert sum(held.torque) <= silent
    with pytest.raises(HiwmError, match='the emergency stop is set; reset it'):
        held.leader.bear(True)
    held.leader.stop(False)
    held.turns(0.5)
    assert not any(held.currents), 'nothing but a person leads out'
    held.borne()


def test_an_emergency_stop_takes_back_a_wish_that_is_not_granted_yet() -> None:
    held = HeldLeader(ABOVE_TABLE)
    held.leader.bear(True)
    held.leader.stop(True)
    held.turns(0.1)
    held.leader.stop(False)
    held.turns(0.1)
    assert not any(held.torque) and held.leader.phase is LeaderPhase.LIMP


def test_lost_and_damaged_packets_leave_it_borne() -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    held.bus.faults.drop = held.bus.faults.damage = 0.01
    held.turns(3.0)
    assert held.leader.phase is LeaderPhase.BORNE, held.leader.message
    assert held.moved.max() < 3.0


def test_a_servo_that_no_word_reached_is_limp_as_soon_as_the_bus_is_sound() -> None:
    held = HeldLeader(ABOVE_TABLE).borne()
    held.bus.faults.drop = 1.0
    held.turns(1.0)
    assert held.leader.phase is LeaderPhase.FAULT
    assert any(held.torque), 'no word has reached a servo'
    held.bus.faults.drop = 0.0
    held.turns(0.3)
    assert not any(held.torque)
    held.leader.bear(True)
    held.turns(0.3)
    assert any(held.torque) and held.leader.phase is LeaderPhase.BORNE, 'nothing of it is left'


def test_a_pair_that_the_table_does_not_name_changes_nothing() -> None:
    assert after(LeaderPhase.LIMP, LeaderEvent.DISABLE) is LeaderPhase.LIMP
    assert after(LeaderPhase.BORNE, LeaderEvent.ENABLE) is LeaderPhase.BORNE
    assert after(LeaderPhase.FAULT, LeaderEvent.FAULT) is LeaderPhase.FAULT


# -- what is refused -----------------------------------------------------------------------------


def old_shoulder(data: dict[str, Any]) -> None:
    data['joints'][SHOULDER]['model'] = 'XL430-W250'
    del data['joints'][SHOULDER]['current_limit']


def factor(name: str, value: float) -> Callable[[dict[str, Any]], object]:
    return lambda data: data['compensation']['factors'].__setitem__(name, value)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (old_shoulder, "joint 'shoulder' cannot be compensated, for the XL430-W250 is not driven"),
        (factor('knee', 1.0), "compensation.factors names 'knee', which is not one of: waist"),
        (factor('gripper', 1.0), "names the gripper 'gripper', that has a spring; remove it"),
        (factor('elbow', 3.0), 'compensation.factors.elbow is 3; it must be above 0, to 2'),
        (lambda data: data['compensation'].update(factors={}), 'must name a joint at least'),
        (lambda data: data['compensation'].update(spring=-0.1), 'it must not be negative'),
        (lambda data: data['compensation'].update(spring=0.5), 'more than the current_limit'),
        (lambda data: data['compensation'].update(sping=0.1), "unknown entry 'sping'"),
        (lambda data: data.pop('gripper'), 'opens a gripper, and there is none; remove it'),
    ],
)
def test_a_file_that_cannot_be_meant(
    change: Callable[[dict[str, Any]], object], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r'leader\.yaml: ') as refused:
        read_arm(leader_file(tmp_path, change))
    assert sentence in refused.value.message


def test_an_arm_without_the_entry_and_a_leader_without_compensation() -> None:
    with pytest.raises(ConfigurationError, match="'reference_arm' has no entry 'compensation'"):
        GravityCompensation(read_arm(FOLLOWER))
    limp = HeldLeader(ABOVE_TABLE, able=False)
    with pytest.raises(HiwmError, match='start it with gravity_compensation:=true'):
        limp.leader.bear(True)


def test_a_servo_of_another_model_gets_no_torque(tmp_path: Path) -> None:
    def other(data: dict[str, Any]) -> None:
        data['joints'][SHOULDER]['model'] = 'XL330-M288'

    held = HeldLeader(ABOVE_TABLE)
    config = read_arm(leader_file(tmp_path, other))
    port = held.port
    leader = Leader(config, ServoBus(port, {}), command_space(TASK, config))
    sentence = 'servo 2 .shoulder. of .reference_leader. is XC330-M288, its file says XL330-M288'
    with pytest.raises(ConfigurationError, match=sentence):
        leader.connect()
    assert not any(held.torque)
