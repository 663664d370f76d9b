# SPDX-License-Identifier: Apache-2.0
"""The arm's file, its kinematics, and what a task's commands mean to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from emulated_arm import CONFIG, READY, EmulatedArm, joint_task, reference, write_arm
import numpy as np
import pytest
import yaml

from hiwm_core.error import ConfigurationError
from hiwm_core.task import load_task
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm import fenced_chain
from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.arm_phase import DRIVEN, TABLE, ArmEvent, ArmPhase, after
from hiwm_robot.dynamixel.command_space import command_space
from hiwm_robot.dynamixel.kinematics import Kinematics


def set_joint(key: str, value: Any, joint: int = 0) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data['joints'][joint][key] = value

    return change


def set_safety(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data['safety'][key] = value

    return change


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data[key] = value

    return change


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        (put('baud_rate', 1234), 'the servos know 9600'),
        (put('rate', 5), 'it must be 10 to 500'),
        (put('colour', 'red'), "has an unknown entry 'colour'"),
        (put('joints', []), 'an arm needs at least one joint'),
        (set_joint('id', 2), 'two joints have the id 2'),
        (set_joint('name', 'elbow'), "two joints have the name 'elbow'"),
        (set_joint('model', 'AX-12A'), "is 'AX-12A'; the known ones are: XL330-M077"),
        (set_joint('direction', 2), 'it must be 1 or -1'),
        (set_joint('limits', [-4.0, 4.0]), 'change the limits or the offset'),
        (set_joint('max_speed', 0), 'has a max_speed of 0 rad/s; it must be larger than 0'),
        (set_joint('max_speed', 900.0), 'of 900 rad/s; it must be larger than 0 and at most 714'),
        (set_joint('current_limit', -1.0), 'has a current_limit of -1 A; it must be larger than 0'),
        (
            set_joint('current_limit', 2500),
            'of 2500 A; it must be larger than 0 A and at most 5.506 A, the most that its XM540',
        ),
        (set_joint('model', 'XL430-W250'), 'which the XL430-W250 does not know'),
        (set_joint('gains', {'p': -1, 'i': 0, 'd': 0}), 'has a gain outside of 0 to 16383'),
        (set_safety('watchdog', 0), 'safety.watchdog is 0 s; it must be longer than two turns'),
        (set_safety('bus_watchdog', 9), 'it must be 0.02 to 2.54'),
        (set_safety('overspeed', 0.5), 'safety.overspeed must be 1.2 or more'),
        (set_safety('temperature', 200), 'it must be 30 to 80'),
        (set_safety('stop_torque', 'maybe'), 'it must be hold or release'),
        (set_safety('fence', {'x': [1, 0], 'y': [0, 1], 'z': [0, 1]}), 'low <= high'),
        (put('gripper', {'joint': 'claw', 'closed': 0, 'open': 1, 'hold': 0}), "joint 'claw'"),
        (
            put('gripper', {'joint': 'gripper', 'closed': 0, 'open': 3.0, 'hold': 0}),
            'beyond the limits',
        ),
        (
            put(
                'plane',
                {
                    'actions': ['x', 'y'],
                    'tool': 'tool',
                    'origin': [0, 0, 0],
                    'x_axis': [1, 0, 0],
                    'y_axis': [1, 0, 0],
                },
            ),
            'must lead another way than x_axis',
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence_that_says_where(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    data = reference()
    change(data)
    path = write_arm(tmp_path, data)
    with pytest.raises(ConfigurationError) as refusal:
        read_arm(path)
    assert sentence in refusal.value.message and str(path) in refusal.value.message
    assert '\n' not in refusal.value.message


def test_the_largest_values_that_are_taken_fit_their_registers(tmp_path: Path) -> None:
    data = reference()
    data['joints'][0] |= {'current_limit': 5.506, 'max_speed': 714.0}
    arm = EmulatedArm(read_arm(write_arm(tmp_path, data)), load_task('pusht'), READY)
    arm.arm.connect()
    waist = arm.bus.servos[1]
    assert waist.value(table.CURRENT_LIMIT) == table.MODELS['XM540-W270'].largest_current
    assert 32700 < waist.value(table.PROFILE_VELOCITY) <= table.LARGEST_VELOCITY


def test_a_leaders_current_in_milliamperes_is_refused_too(tmp_path: Path) -> None:
    path = CONFIG.with_name('reference_leader.yaml')
    data = yaml.safe_load(path.read_text())
    data['urdf'] = str(path.with_name(data['urdf']))
    data['joints'][1]['current_limit'] = 950
    with pytest.raises(ConfigurationError, match=r"joint 'shoulder' has a current_limit of 950 A"):
        read_arm(write_arm(tmp_path, data))


def test_counts_and_angles_are_each_others_inverse() -> None:
    for joint in read_arm(CONFIG).joints:
        for angle in np.linspace(joint.low, joint.high, 50):
            assert joint.angle_of(joint.count_of(angle)) == pytest.approx(angle, abs=8e-4)


# -- kinematics -----------------------------------------------------------------------------------


def test_a_stretched_arm_reaches_as_far_as_its_links() -> None:
    config = read_arm(CONFIG)
    chain = Kinematics(config.urdf, config.names, 'tool')
    zero = np.zeros(6)
    np.testing.assert_allclose(chain.tool_position(zero), [0.93, 0, 0.18], atol=1e-9)
    np.testing.assert_allclose(chain.tool_direction(zero), [1, 0, 0], atol=1e-9)
    up = np.array([np.pi / 2, -np.pi / 2, 0, 0, 0, 0])
    np.testing.assert_allclose(chain.tool_position(up), [0, 0, 1.11], atol=1e-9)


def test_the_inverse_finds_every_pose_that_the_arm_can_have() -> None:
    config = read_arm(CONFIG)
    chain = Kinematics(config.urdf, config.names, 'tool')
    generator = np.random.default_rng(0)
    for _ in range(200):
        angles = generator.uniform(0.8 * config.low, 0.8 * config.high)
        near = angles + generator.normal(0.0, 0.1, 6)
        found, miss = chain.solve(
            chain.tool_position(angles),
            chain.tool_direction(angles),
            near,
            config.low,
            config.high,
        )
        assert miss < 1e-4
        np.testing.assert_allclose(
            chain.tool_position(found), chain.tool_position(angles), atol=1e-4
        )
        assert (found >= config.low).all() and (found <= config.high).all()


@pytest.mark.parametrize(
    ('joints', 'tool', 'sentence'),
    [
        (('waist', 'knee'), 'tool', "has no joint 'knee'; it has: waist, shoulder"),
        (('waist',), 'nose', "has no link 'nose'; it has: base_link, turret"),
    ],
)
def test_names_that_the_urdf_lacks(joints: tuple[str, ...], tool: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        Kinematics(read_arm(CONFIG).urdf, joints, tool)


def test_a_urdf_that_is_none(tmp_path: Path) -> None:
    (tmp_path / 'arm.urdf').write_text('<robot name="x"><link name="a"/>')
    with pytest.raises(ConfigurationError, match='is not a usable URDF'):
        Kinematics(tmp_path / 'arm.urdf', (), 'a')
    with pytest.raises(ConfigurationError, match='cannot be read'):
        Kinematics(tmp_path / 'none.urdf', (), 'a')


# -- what commands mean ---------------------------------------------------------------------------


def test_the_whole_table_is_within_reach_and_the_tool_stays_upright_on_it() -> None:
    config = read_arm(CONFIG)
    space, task = command_space(load_task('pusht'), config), load_task('pusht')
    chain = Kinematics(config.urdf, config.names, 'tool')
    angles = np.array(READY)
    for x in np.linspace(task.action_low[0], task.action_high[0], 12):
        for y in np.linspace(task.action_low[1], task.action_high[1], 12):
            found = space.to_angles(np.array([x, y]), angles)
            assert found is not None, f'{x:.3f} {y:.3f} is out of reach'
            angles = found
            np.testing.assert_allclose(space.to_values(angles), [x, y], atol=1e-4)
            assert chain.tool_position(angles)[2] == pytest.approx(0.015, abs=1e-4)
            assert chain.tool_direction(angles)[2] < -0.999


def test_right_in_the_picture_is_right_behind_the_arm() -> None:
    """The picture is that of someone who stands behind the arm: y grows towards its base."""
    config = read_arm(CONFIG)
    space = command_space(load_task('pusht'), config)
    chain = Kinematics(config.urdf, config.names, 'tool')
    middle = space.to_angles(np.array([0.25, 0.25]), np.array(READY))
    right = space.to_angles(np.array([0.35, 0.25]), np.array(READY))
    lower = space.to_angles(np.array([0.25, 0.35]), np.array(READY))
    assert middle is not None and right is not None and lower is not None
    assert chain.tool_position(right)[1] < chain.tool_position(middle)[1] - 0.09
    assert chain.tool_position(lower)[0] < chain.tool_position(middle)[0] - 0.09


def test_beyond_the_arms_length_is_out_of_reach() -> None:
    space = command_space(load_task('pusht'), read_arm(CONFIG))
    assert space.to_angles(np.array([0.25, -2.0]), np.array(READY)) is None


def test_joints_are_driven_by_name_in_the_tasks_own_order() -> None:
    config = read_arm(CONFIG)
    space = command_space(joint_task(('elbow', 'waist')), config)
    angles = space.to_angles(np.array([1.0, 0.5]), np.array(READY))
    assert angles is not None
    assert (angles[2], angles[0]) == (1.0, 0.5)
    np.testing.assert_array_equal(np.delete(angles, [0, 2]), np.delete(READY, [0, 2]))
    np.testing.assert_array_equal(space.to_values(angles), [1.0, 0.5])


def test_a_gripper_is_driven_from_closed_to_open() -> None:
    config = read_arm(CONFIG)
    gripper = replace(config.gripper, closed=0.1, open=0.9)  # type: ignore[type-var]
    space = command_space(joint_task(('waist', 'gripper')), replace(config, gripper=gripper))
    angles = space.to_angles(np.array([0.0, 0.5]), np.array(READY))
    assert angles is not None
    assert angles[5] == pytest.approx(0.5)
    assert space.to_values(angles)[1] == pytest.approx(0.5)


def test_a_task_that_names_what_the_arm_lacks() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        command_space(joint_task(('knee',)), read_arm(CONFIG))
    assert 'commands knee' in refusal.value.message
    assert 'it has waist, shoulder' in refusal.value.message


# -- the phases -----------------------------------------------------------------------------------


def test_every_pair_that_the_table_lacks_changes_nothing() -> None:
    for phase in ArmPhase:
        for event in ArmEvent:
            if (phase, event) not in TABLE:
                assert after(phase, event) is phase


def ways_out(phase: ArmPhase) -> set[ArmEvent]:
    return {event for event in ArmEvent if after(phase, event) in DRIVEN | {ArmPhase.OFF}}


def test_a_stop_is_left_by_its_reset_and_a_fault_only_where_all_is_set_up_anew() -> None:
    assert ways_out(ArmPhase.STOPPED) == {ArmEvent.RESET, ArmEvent.DISABLE}
    assert ways_out(ArmPhase.FAULT) == {ArmEvent.RECOVER}
    for phase in DRIVEN:
        assert after(phase, ArmEvent.STOP) is ArmPhase.STOPPED
        assert after(phase, ArmEvent.FAULT) is ArmPhase.FAULT


def test_a_joint_that_the_fence_does_not_hold_is_refused() -> None:
    """A second arm in the same file would be free to hit the table."""
    config = read_arm(CONFIG)
    assert fenced_chain(config).aside == ('gripper',)
    with pytest.raises(ConfigurationError, match="which does not move its tool 'forearm'"):
        fenced_chain(replace(config, tool='forearm'))
