# SPDX-License-Identifier: Apache-2.0
"""An arm on the emulated bus, in made-up time: what it follows, what it never does."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
import random
import re

from emulated_arm import (
    CONFIG,
    READY,
    EmulatedArm,
    joint_task,
    planar_arm,
    reference,
    small_arm,
    write_arm,
)
import numpy as np
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import load_task
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.arm_phase import DRIVEN, ArmPhase
from hiwm_robot.dynamixel.arm_safety import GoalLimiter, HealthWatch, Measured
from hiwm_robot.dynamixel.control_table import HardwareError
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo
from hiwm_robot.dynamixel.kinematics import Kinematics
from hiwm_robot.dynamixel.port import ANSWER_MARGIN

JOINTS = ('waist', 'shoulder', 'elbow')
START = [0.0, -1.0, 1.9]
WATCHDOG = 0.2


@pytest.fixture
def small(tmp_path: Path) -> EmulatedArm:
    """Three joints, driven by name, with torque and past the slow start."""
    arm = EmulatedArm(small_arm(tmp_path), joint_task(JOINTS), START).start()
    arm.drive(START, 0.3)
    assert arm.arm.phase is ArmPhase.FOLLOWING
    return arm


# -- limits, without a bus ------------------------------------------------------------------------


def limiter(config: ArmConfig) -> GoalLimiter:
    return GoalLimiter(config, Kinematics(config.urdf, config.names, config.tool).tool_position)


def test_goals_stay_within_every_limit_whatever_is_wanted() -> None:
    config = read_arm(CONFIG)
    limit, generator = limiter(config), np.random.default_rng(0)
    tool = Kinematics(config.urdf, config.names, config.tool).tool_position
    goal = np.array(READY)
    fence = np.array(config.limits.fence)
    for _ in range(2000):
        target = generator.uniform(-20.0, 20.0, 6)
        measured = goal + generator.normal(0.0, 0.1, 6)
        following = limit.limit(target, goal, measured, 0.01)
        lagging = np.abs(goal - measured) > config.limits.max_lag
        assert (following >= config.low).all() and (following <= config.high).all()
        step = np.abs(following - goal)[~lagging]
        assert (step <= config.max_speed[~lagging] * 0.01 + 1e-9).all()
        place = tool(following)
        assert (place >= fence[:, 0] - 1e-5).all() and (place <= fence[:, 1] + 1e-5).all()
        goal = following


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_what_is_not_a_number_is_not_followed(value: float) -> None:
    goal = np.array(READY)
    target = goal.copy()
    target[2] = value
    np.testing.assert_array_equal(limiter(read_arm(CONFIG)).limit(target, goal, goal, 0.01), goal)


def test_a_blocked_joint_is_not_pulled_ever_harder() -> None:
    config = read_arm(CONFIG)
    limit, goal = limiter(config), np.array(READY)
    measured, target = goal.copy(), goal + np.array([1.0, 0, 0, 0, 0, 0])
    for _ in range(300):
        goal = limit.limit(target, goal, measured, 0.01)
    assert goal[0] - measured[0] == pytest.approx(config.limits.max_lag)


def test_from_beyond_the_fence_the_way_back_is_open() -> None:
    config = read_arm(CONFIG)
    fence = ((0.10, 0.75), (-0.35, 0.35), (0.05, 0.60))
    config = replace(config, limits=replace(config.limits, fence=fence))
    limit, goal = limiter(config), np.array(READY)
    one = np.eye(6)[1]
    lower, higher = goal + 0.1 * one, goal - 0.3 * one
    np.testing.assert_array_equal(limit.limit(lower, goal, goal, 0.01), goal)
    assert limit.limit(higher, goal, goal, 0.01)[1] < goal[1]


def measured(config: ArmConfig, **changes: np.ndarray) -> Measured:
    count = len(config.joints)
    still = Measured(
        angles=np.zeros(count),
        speeds=np.zeros(count),
        currents=np.zeros(count),
        voltages=np.full(count, 12.0),
        temperatures=np.full(count, 30.0),
        alerts=np.zeros(count, np.bool_),
    )
    return replace(still, **changes)


def test_heat_strain_and_speed_are_told_with_the_servos_name() -> None:
    config = read_arm(CONFIG)
    watch = HealthWatch(config)
    assert not watch.fault(measured(config), 0.01)
    hot = measured(config, temperatures=np.array([30, 30, 66, 30, 30, 30.0]))
    assert 'servo 3 (elbow) is at 66 degC' in watch.fault(hot, 0.01)
    strained = measured(config, currents=np.array([0, -3.5, 0, 0, 0, 0.0]))
    assert not watch.fault(strained, 0.25), 'for a moment it may'
    assert 'servo 2 (shoulder) has needed 3.50 A' in watch.fault(strained, 0.25)
    fast = measured(config, speeds=np.array([0, 0, 0, 0, 5.0, 0]))
    assert 'servo 5 (wrist_roll) turned at 5.00 rad/s' in watch.stop(fast)


# -- set-up ---------------------------------------------------------------------------------------


def test_set_up_writes_what_the_file_says_and_torque_comes_last(tmp_path: Path) -> None:
    arm = EmulatedArm(read_arm(CONFIG), load_task('pusht'), READY)
    arm.arm.connect()
    assert arm.torque == [False] * 6
    shoulder = arm.bus.servos[2]
    assert shoulder.value(table.OPERATING_MODE) == 3
    assert shoulder.value(table.POSITION_P_GAIN) == 1000
    assert shoulder.value(table.CURRENT_LIMIT) == round(3.5 / 2.69e-3)
    assert shoulder.value(table.RETURN_DELAY) == 0
    assert shoulder.value(table.MIN_POSITION_LIMIT) > 0
    before = arm.angles
    arm.arm.enable()
    assert arm.torque == [True] * 6
    watchdog = shoulder.value(table.BUS_WATCHDOG) * table.WATCHDOG_TICK
    assert watchdog == pytest.approx(arm.arm.config.limits.bus_watchdog)
    assert watchdog < arm.arm.config.limits.watchdog
    arm.turns(50)
    np.testing.assert_allclose(arm.angles, before, atol=1e-3)


def test_a_dry_run_is_everything_but_torque() -> None:
    arm = planar_arm(dry_run=True).start()
    arm.drive([0.3, 0.3], 1.0)
    assert arm.torque == [False] * 6
    assert arm.arm.phase in DRIVEN
    np.testing.assert_allclose(arm.angles, READY, atol=1e-3)
    executed = arm.arm.executed()
    assert executed is not None and executed[0] > 0.26


def test_it_begins_slowly_and_then_keeps_up() -> None:
    arm = planar_arm().start()
    start = arm.angles
    arm.drive([0.356, 0.256], 0.2)
    moved = np.abs(arm.angles - start).max()
    assert 0.0 < moved <= 0.3 * 0.25 + 2e-3
    arm.drive([0.356, 0.256], 3.0)
    assert arm.arm.phase is ArmPhase.FOLLOWING
    start = arm.angles
    arm.drive([0.256, 0.256], 0.2)
    assert np.abs(arm.angles - start).max() > 0.1


def change(tmp_path: Path, joint: int, **entries: object) -> ArmConfig:
    data = reference()
    data['joints'][joint].update(entries)
    return read_arm(write_arm(tmp_path, data))


def test_a_missing_servo_is_named(tmp_path: Path) -> None:
    arm = EmulatedArm(read_arm(CONFIG), load_task('pusht'), READY)
    arm.bus.faults.missing = frozenset({4})
    with pytest.raises(ConfigurationError) as refusal:
        arm.arm.connect()
    assert 'servo 4 (wrist_pitch) on virtual does not answer' in refusal.value.message
    assert not arm.port.is_open


def test_a_wrong_model_is_named(tmp_path: Path) -> None:
    arm = EmulatedArm(change(tmp_path, 3, model='XM540-W270'), load_task('pusht'), READY)
    arm.bus.servos[4] = EmulatedServo(4, table.MODELS['XM430-W350'])
    with pytest.raises(ConfigurationError) as refusal:
        arm.arm.connect()
    assert (
        "servo 4 (wrist_pitch) of 'reference_arm' is XM430-W350, its file says XM540-W270"
        in refusal.value.message
    )


def test_a_joint_outside_of_its_limits_gets_no_torque() -> None:
    arm = EmulatedArm(read_arm(CONFIG), load_task('pusht'), [2.6, *READY[1:]])
    arm.arm.connect()
    with pytest.raises(ConfigurationError, match=r"joint 'waist' stands at 2\.60 rad"):
        arm.arm.enable()
    assert arm.torque == [False] * 6


def test_set_up_outlasts_lost_packets() -> None:
    for seed in range(5):
        arm = EmulatedArm(read_arm(CONFIG), load_task('pusht'), READY, seed=seed)
        arm.bus.faults.drop = arm.bus.faults.damage = 0.03
        arm.arm.connect()


# -- following and holding ------------------------------------------------------------------------


def test_the_tool_goes_straight_and_what_was_sent_is_told() -> None:
    arm = planar_arm().start()
    arm.drive([0.256, 0.256], 0.3)
    for step in range(1, 11):
        arm.drive([0.256 + 0.01 * step, 0.256], 0.1)
        executed = arm.arm.executed()
        assert executed is not None
        assert executed == pytest.approx([0.256 + 0.01 * step, 0.256], abs=2e-3)
    values = arm.arm.values()
    assert values is not None
    assert values == pytest.approx([0.356, 0.256], abs=0.01)


def test_a_command_beyond_the_limits_is_told_as_it_was_sent(small: EmulatedArm) -> None:
    small.drive([9.0, -1.0, 1.9], 3.0)
    executed = small.arm.executed()
    assert executed is not None
    assert executed[0] == pytest.approx(2.2, abs=2e-3)
    assert small.angles[0] <= 2.2 + 1e-3


def test_silence_is_answered_with_a_hold_at_the_measured_position(small: EmulatedArm) -> None:
    small.arm.command(np.array([1.0, -1.0, 1.9]))
    commanded_at = small.port.now
    small.turns(12)
    assert small.arm.phase is ArmPhase.FOLLOWING
    while small.arm.phase is ArmPhase.FOLLOWING:
        small.turn()
    assert small.arm.phase is ArmPhase.HOLDING
    held = small.arm.goal
    assert held is not None
    small.turns(100)
    last = max(small.port.now - servo.goal_age for servo in small.bus.servos.values())
    assert 0.8 * WATCHDOG < last - commanded_at <= WATCHDOG
    np.testing.assert_array_equal(small.arm.goal, held)
    np.testing.assert_allclose(small.angles, held, atol=2e-3)
    small.drive([0.5, -1.0, 1.9], 0.2)
    assert small.arm.phase is ArmPhase.FOLLOWING


def test_an_emergency_stop_latches_until_it_is_reset(small: EmulatedArm) -> None:
    small.arm.command(np.array([1.0, -1.0, 1.9]))
    small.turns(5)
    small.arm.stop('somebody pressed the button')
    small.turn()
    stopped_at = small.angles
    assert small.arm.phase is ArmPhase.STOPPED
    assert small.arm.message == 'somebody pressed the button'
    with pytest.raises(HiwmError, match='somebody pressed the button'):
        small.arm.command(np.array(START))
    small.turns(50)
    np.testing.assert_allclose(small.angles, stopped_at, atol=0.05)
    assert small.torque == [True] * 3
    small.arm.reset_stop()
    small.turn()
    assert small.arm.phase is ArmPhase.STARTING


def test_an_emergency_stop_may_take_the_torque(tmp_path: Path) -> None:
    config = small_arm(tmp_path)
    config = replace(config, limits=replace(config.limits, stop_torque='release'))
    arm = EmulatedArm(config, joint_task(JOINTS), START).start()
    arm.drive(START, 0.3)
    arm.arm.stop('somebody pressed the button')
    arm.turn()
    assert arm.torque == [False] * 3
    arm.bus.servos[1].put(arm.bus.servos[1].position + 0.3)
    arm.arm.reset_stop()
    arm.turns(20)
    assert arm.torque == [True] * 3
    assert arm.angles[0] == pytest.approx(0.3, abs=0.01), 'it stays where it was put'


def test_a_pushed_joint_that_races_stops_the_arm(small: EmulatedArm) -> None:
    servo = small.bus.servos[1]
    servo.model = table.MODELS['XL330-M077']
    servo.write(table.PROFILE_VELOCITY.address, bytes(4))
    servo.put(servo.position - 0.3)
    small.turns(3)
    assert small.arm.phase is ArmPhase.STOPPED
    assert 'servo 1 (waist) turned at' in small.arm.message


# -- faults ---------------------------------------------------------------------------------------


def test_a_hardware_error_is_named_and_a_reset_reboots_the_servo(small: EmulatedArm) -> None:
    small.bus.servos[3].fail(HardwareError.OVERLOAD)
    small.turns(2)
    assert small.arm.phase is ArmPhase.FAULT
    assert 'servo 3 (elbow) reports a hardware error: overload' in small.arm.message
    assert small.torque == [False] * 3
    small.arm.recover()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING and small.torque == [True] * 3


def test_a_cause_that_is_still_there_is_told_again(small: EmulatedArm) -> None:
    small.bus.servos[3].heat = 50.0
    small.turns(2)
    assert 'servo 3 (elbow)' in small.arm.message
    small.arm.recover()
    small.turns(3)
    assert small.arm.phase is ArmPhase.FAULT
    assert small.torque == [False] * 3


def test_a_port_that_vanishes_and_returns(small: EmulatedArm) -> None:
    small.arm.command(np.array([1.0, -1.0, 1.9]))
    small.turns(3)
    small.port.unplugged = True
    small.turns(2)
    assert small.arm.phase is ArmPhase.FAULT and 'has vanished' in small.arm.message
    small.turns(25)
    assert all(abs(servo.velocity) < 0.05 for servo in small.bus.servos.values()), 'bus watchdog'
    small.arm.recover()
    small.turn()
    assert small.arm.phase is ArmPhase.FAULT
    small.port.unplugged = False
    small.arm.recover()
    small.turns(2)
    assert small.arm.phase is ArmPhase.STARTING
    small.drive(START, 5.0)
    np.testing.assert_allclose(small.angles, START, atol=5e-3)


def test_after_a_stall_of_the_host_the_servos_take_goals_again(small: EmulatedArm) -> None:
    small.drive([0.3, -1.0, 1.9], 0.5)
    small.port.sleep(1.0)
    assert small.bus.servos[1].value(table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED
    small.turns(2)
    assert small.arm.phase is ArmPhase.HOLDING
    small.drive([0.0, -1.0, 1.9], 3.0)
    np.testing.assert_allclose(small.angles, START, atol=5e-3)


def test_a_defect_in_the_loop_ends_with_the_torque_off(
    small: EmulatedArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(small.space, 'to_angles', defect)
    small.arm.command(np.array(START))
    small.turns(2)
    assert small.arm.phase is ArmPhase.FAULT and 'ZeroDivisionError' in small.arm.message
    assert small.torque == [False] * 3


@pytest.mark.parametrize('fault', ['drop', 'damage'])
def test_a_servo_that_no_word_reached_is_limp_as_soon_as_the_bus_is_sound(
    small: EmulatedArm, fault: str
) -> None:
    setattr(small.bus.faults, fault, 1.0)
    small.turns(60)
    assert small.arm.phase is ArmPhase.FAULT
    assert all(small.torque), 'no word has reached a servo'
    setattr(small.bus.faults, fault, 0.0)
    small.turns(3)
    assert small.torque == [False] * 3
    small.turns(10)
    assert small.arm.phase is ArmPhase.FAULT
    small.arm.recover()
    small.turns(20)
    assert all(small.torque) and small.arm.phase in DRIVEN, 'nothing of it is left'


class Storm:
    """Random faults on an arm, and what must hold in every turn of its loop."""

    def __init__(self, arm: EmulatedArm, seed: int) -> None:
        self.arm = arm
        self.draw = random.Random(seed)
        self.commanded_at = -math.inf
        self.silent = False
        self.held: np.ndarray | None = None
        self.missed = 0
        self.reached: set[ArmPhase] = set()

    def turn(self) -> None:
        """A command, if the loop's turn is due one, and then the turn."""
        arm = self.arm
        if not self.silent and self.draw.random() < 0.1:
            target = [self.draw.uniform(-6.0, 6.0) for _ in JOINTS]
            try:
                arm.arm.command(np.array(target))
                self.commanded_at = arm.port.now
                self.held = None
            except HiwmError:
                pass
        arm.turn()
        self.reached.add(arm.arm.phase)
        self.check()

    def check(self) -> None:
        """No goal outside of the limits; and a hold once nobody commands."""
        arm = self.arm
        for joint in arm.config.joints:
            servo = arm.bus.servos[joint.servo]
            for goal in servo.goals:
                angle = joint.direction * (goal - joint.offset)
                assert joint.low - 1e-9 <= angle <= joint.high + 1e-9
            servo.goals.clear()
        silent = arm.port.now - self.commanded_at
        # A turn that waits for a servo in vain takes longer, and one more may be under way.
        if arm.arm.phase in DRIVEN and silent > WATCHDOG + 0.05 and arm.arm.missed == self.missed:
            if self.held is not None:
                change = np.abs(arm.arm.goal - self.held).max()
                assert change < 0.005, f'the goal changes {silent:.3f} s after a command'
            self.held = arm.arm.goal
        else:
            self.held = None
        self.missed = arm.arm.missed

    def fault(self) -> int:
        """Something goes wrong; returns the servo that it is about, or 0."""
        arm, draw = self.arm, self.draw
        faults, servo = arm.bus.faults, draw.choice(list(arm.bus.servos.values()))
        kind = draw.randrange(11)
        if kind == 0:
            faults.drop = draw.uniform(0.02, 1.0)
        elif kind == 1:
            faults.damage = draw.uniform(0.02, 1.0)
        elif kind == 2:
            faults.latency = draw.uniform(0.001, 0.05)
        elif kind == 3:
            faults.missing = frozenset({servo.number})
            return servo.number
        elif kind == 4:
            servo.load = draw.choice([-1.5, 1.5])
            return servo.number
        elif kind == 5:
            servo.heat = draw.uniform(45.0, 60.0)
            return servo.number
        elif kind == 6:
            servo.fail(draw.choice([HardwareError.OVERLOAD, HardwareError.ELECTRICAL_SHOCK]))
            return servo.number
        elif kind == 7:
            arm.port.unplugged = True
        elif kind == 8:
            self.silent = True
        elif kind == 9:
            arm.arm.stop('somebody pressed the button')
        else:
            arm.port.sleep(draw.uniform(0.02, 0.5))
        return 0

    def mend(self) -> None:
        """All is well again, and a person resets what has to be reset."""
        arm = self.arm
        faults = arm.bus.faults
        faults.drop = faults.damage = faults.latency = 0.0
        faults.missing = frozenset()
        arm.port.unplugged = False
        self.silent = False
        for servo in arm.bus.servos.values():
            servo.load = servo.heat = 0.0
        if arm.arm.stop_reason:
            arm.arm.reset_stop()
        # What was late is still on its way.
        arm.turns(6)
        if arm.arm.phase is ArmPhase.FAULT:
            arm.arm.recover()
        arm.turn()
        assert arm.arm.phase in DRIVEN, arm.arm.message
        assert all(arm.torque)
        self.check()


def test_a_thousand_random_faults(small: EmulatedArm) -> None:
    """Goals stay within limits, the arm holds, faults name their servo, and it always recovers."""
    storm = Storm(small, seed=11)
    named = 0
    for _ in range(1000):
        about = storm.fault()
        for _ in range(storm.draw.randrange(5, 30)):
            storm.turn()
        if small.arm.phase is ArmPhase.FAULT and about:
            assert f'servo {about} (' in small.arm.message, small.arm.message
            named += 1
        storm.mend()
        for _ in range(storm.draw.randrange(1, 5)):
            storm.turn()
    assert named > 150 and storm.reached == set(ArmPhase) - {ArmPhase.OFF}


def test_torque_is_off_after_every_end_however_bad_the_bus(tmp_path: Path) -> None:
    """Or, where no word reaches a servo, its own watchdog has stopped it and a person is told."""
    config = small_arm(tmp_path)
    stiff = 0
    for seed in range(40):
        arm = EmulatedArm(config, joint_task(JOINTS), START, seed=seed).start()
        storm = Storm(arm, seed)
        for _ in range(20):
            storm.turn()
        storm.fault()
        for _ in range(storm.draw.randrange(0, 10)):
            storm.turn()
        deaf = arm.bus.faults.missing if not arm.port.unplugged else set(arm.bus.servos)
        faults = arm.bus.faults
        unheard = max(faults.drop, faults.damage) > 0.3 or faults.latency > 0.9 * ANSWER_MARGIN
        arm.arm.close()
        assert not arm.port.is_open and arm.arm.phase is ArmPhase.OFF
        named = {int(each) for each in re.findall(r'(\d) \(', arm.arm.message)}
        # A servo whose answers are lost or late may be limp without that anybody knows.
        assert named == deaf or (named > deaf and unheard), arm.arm.message
        arm.bus.pass_time(arm.port.now + 0.25)
        for servo in arm.bus.servos.values():
            if servo.torque:
                stiff += 1
                assert servo.number in named
                assert servo.value(table.BUS_WATCHDOG) == table.WATCHDOG_TRIPPED
                assert abs(servo.velocity) < 0.05
    assert stiff, 'no fault was bad enough'


def test_a_hold_does_not_let_go_of_what_is_gripped(tmp_path: Path) -> None:
    """A thing in the gripper stops it; what presses is how far the goal is beyond."""
    data = reference()
    del data['plane']
    config = read_arm(write_arm(tmp_path, data))
    arm = EmulatedArm(config, joint_task(config.names), READY).start()
    gripper = config.names.index('gripper')
    arm.drive([*READY[:gripper], 1.0], 1.0)
    arm.bus.servos[config.servos[gripper]].load = 1.0
    target = [*READY[:gripper], 0.0]
    arm.drive(target, 0.4)
    assert arm.arm.goal is not None
    pressed = arm.arm.goal[gripper]
    assert pressed < arm.angles[gripper] - 0.05
    arm.arm.hold()
    arm.turns(20)
    assert arm.arm.goal[gripper] == pressed
    np.testing.assert_allclose(arm.arm.goal[:gripper], arm.angles[:gripper], atol=2e-3)
    arm.arm.stop('a button')
    arm.turns(5)
    assert arm.arm.goal[gripper] == pytest.approx(arm.angles[gripper], abs=2e-3), 'a stop lets go'
