# SPDX-License-Identifier: Apache-2.0
"""A leader whose servos are mounted anyhow is calibrated against its follower."""

from __future__ import annotations

from collections.abc import Iterator
import json
import math
from pathlib import Path
import subprocess
import sys

import cv2
import numpy as np
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_robot.calibration.calibrate_leader import take_poses, write_leader
from hiwm_robot.calibration.leader_fit import fit_leader, wanted_angles
from hiwm_robot.calibration.posed_arm import PosedArm
from hiwm_robot.calibration.yaml_edit import replace_values
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.emulator.program import emulated_bus
from hiwm_robot.dynamixel.emulator.virtual_port import VirtualPort

CONFIG = Path(__file__).parents[1] / 'config'
LEADER = read_arm(CONFIG / 'reference_leader.yaml')
FOLLOWER = read_arm(CONFIG / 'reference_arm.yaml')
# How the leader's servos are really mounted: rad, and which way.
OFFSETS = np.array([3.05, 2.6, 3.2, 3.4, 3.3, 4.4])
DIRECTIONS = np.array([1, 1, -1, 1, -1, -1])
# Of the follower, every joint in other places.
POSES = np.array(
    [
        [0.0, -1.0, 1.9, 0.5, 0.0, 0.1],
        [0.9, -0.6, 1.2, 0.0, 0.8, 0.9],
        [-0.9, -1.4, 2.2, -0.6, -0.8, 0.5],
        [0.4, -0.3, 0.6, 1.0, 1.6, 0.3],
        [-0.4, -1.8, 2.4, 1.4, -1.5, 0.7],
    ]
)


def arm(role: str, config: ArmConfig, seed: int = 0) -> tuple[PosedArm, VirtualPort]:
    port = VirtualPort(emulated_bus(config, seed))  # type: ignore[arg-type]
    return PosedArm(role, config, ServoBus(port, {})), port


def put(port: VirtualPort, servo_angles: np.ndarray) -> None:
    for servo, angle in zip(port.bus.servos.values(), servo_angles, strict=True):
        servo.put(float(angle))


def mounted(wanted: np.ndarray) -> np.ndarray:
    """rad, what the leader's servos measure where its joints are at `wanted`."""
    return OFFSETS + DIRECTIONS * wanted


def follower_servos(angles: np.ndarray) -> np.ndarray:
    return np.array([joint.offset for joint in FOLLOWER.joints]) + angles * [
        joint.direction for joint in FOLLOWER.joints
    ]


def test_offsets_and_directions_are_found_from_poses_on_the_bus() -> None:
    (leader, leader_port), (follower, follower_port) = (
        arm('leader', LEADER),
        arm('follower', FOLLOWER),
    )
    leader.connect()
    follower.connect()
    hand = np.random.default_rng(4)
    wanted = wanted_angles(LEADER, FOLLOWER, POSES)
    asked: list[str] = []

    def pose(sentence: str) -> None:
        # A person puts both into the same pose, within two degrees or so.
        number = len(asked)
        asked.append(sentence)
        put(leader_port, mounted(wanted[number] + hand.normal(0.0, 0.02, 6)))
        put(follower_port, follower_servos(POSES[number]))

    servo_angles, angles = take_poses(leader, follower, len(POSES), pose)
    assert angles == pytest.approx(POSES, abs=2e-3)
    assert asked[0].startswith('Pose 1 of 5: put both arms into the same pose')
    fits = fit_leader(LEADER, servo_angles, wanted_angles(LEADER, FOLLOWER, angles))
    assert [fit.direction for fit in fits] == DIRECTIONS.tolist()
    assert [fit.offset for fit in fits] == pytest.approx(OFFSETS, abs=0.03)
    for fit in fits:
        assert 0.0 < fit.error < 0.05
        assert fit.error < fit.held_out < 0.08
        assert abs(float(fit.residuals.sum())) < 1e-6, 'least squares'
    leader.close()


def test_an_offset_near_a_full_turn_is_found_on_either_side() -> None:
    servo_angles = mounted(wanted_angles(LEADER, FOLLOWER, POSES))
    servo_angles[:, 0] += np.array([-3.08, -3.02, -3.08, -3.02, -3.05])
    fits = fit_leader(LEADER, servo_angles % math.tau, wanted_angles(LEADER, FOLLOWER, POSES))
    assert math.remainder(fits[0].offset, math.tau) == pytest.approx(0.0, abs=1e-9)
    assert 0.0 <= fits[0].offset < math.tau


def test_a_gripper_is_compared_by_its_opening() -> None:
    angles = POSES.copy()
    wanted = wanted_angles(LEADER, FOLLOWER, angles)
    assert LEADER.gripper is not None and FOLLOWER.gripper is not None
    for pose in range(len(POSES)):
        opening = FOLLOWER.gripper.opening_of(angles[pose, 5])
        assert LEADER.gripper.opening_of(wanted[pose, 5]) == pytest.approx(opening)


def test_what_is_no_calibration_is_refused() -> None:
    wanted = wanted_angles(LEADER, FOLLOWER, POSES)
    with pytest.raises(HiwmError, match='2 poses are too few'):
        fit_leader(LEADER, mounted(wanted[:2]), wanted[:2])
    still = wanted.copy()
    still[:, 2] = 1.0
    with pytest.raises(
        HiwmError, match=r"'elbow' was moved by 0 degrees .* by 17 degrees at least"
    ):
        fit_leader(LEADER, mounted(still), still)
    wrong = mounted(wanted)
    wrong[3, 1] += 1.0
    with pytest.raises(HiwmError, match=r"'shoulder' differs by 23 degrees .* most in pose 4"):
        fit_leader(LEADER, wrong, wanted)


def test_an_arm_that_moves_while_it_is_read_is_asked_for_again() -> None:
    (leader, leader_port), (follower, _) = arm('leader', LEADER), arm('follower', FOLLOWER)
    leader.connect()
    follower.connect()
    asked: list[str] = []
    trembling = leader_port.bus.servos[2]
    read = trembling.read

    def tremble(address: int, size: int) -> tuple[int, bytes]:
        if len(asked) == 1:
            trembling.put(trembling.position + 0.01)
        return read(address, size)

    trembling.read = tremble  # type: ignore[method-assign]
    take_poses(leader, follower, 1, asked.append)
    assert len(asked) == 2
    assert asked[1].startswith("joint 'shoulder' of the leader moved by 1")
    assert 'hold it still. Pose 1 of 1' in asked[1]


def test_a_follower_at_the_leaders_port_is_refused() -> None:
    bus = ServoBus(VirtualPort(emulated_bus(FOLLOWER)), {})  # type: ignore[arg-type]
    sentence = r"servo 1 \(waist\) of 'reference_leader' is XM540-W270"
    with pytest.raises(ConfigurationError, match=sentence):
        PosedArm('leader', LEADER, bus).connect()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Both arms' files, with ports in the same folder."""
    for name in ('reference_leader', 'reference_arm'):
        text = (CONFIG / f'{name}.yaml').read_text()
        port = next(line for line in text.splitlines() if line.startswith('port:'))
        text = text.replace(port, f'port: {tmp_path / name}')
        (tmp_path / f'{name}.yaml').write_text(text)
        (tmp_path / f'{name}.urdf').write_text((CONFIG / f'{name}.urdf').read_text())
    return tmp_path


def test_a_file_keeps_its_comments_and_all_but_offsets_and_directions(files: Path) -> None:
    path = files / 'reference_leader.yaml'
    before = path.read_text()
    wanted = wanted_angles(LEADER, FOLLOWER, POSES)
    fits = fit_leader(LEADER, mounted(wanted), wanted)
    write_leader(path, path, fits)
    config = read_arm(path)
    assert [joint.offset for joint in config.joints] == pytest.approx(OFFSETS, abs=1e-5)
    assert [joint.direction for joint in config.joints] == DIRECTIONS.tolist()
    changed = [
        (old, new)
        for old, new in zip(before.splitlines(), path.read_text().splitlines(), strict=True)
        if old != new
    ]
    assert len(changed) == len(LEADER.joints)
    assert all(old.startswith('  - {name: ') for old, _ in changed)
    assert not list(files.glob('.*'))


def test_offsets_beyond_a_servos_range_write_nothing(files: Path) -> None:
    path = files / 'reference_leader.yaml'
    before = path.read_text()
    wanted = wanted_angles(LEADER, FOLLOWER, POSES)
    servo_angles = mounted(wanted)
    servo_angles[:, 0] += 2.5
    with pytest.raises(ConfigurationError, match=r"do not fit the file: .*'waist' has limits that"):
        write_leader(path, path, fit_leader(LEADER, servo_angles, wanted))
    assert path.read_text() == before
    assert not list(files.glob('.*'))


def test_values_are_replaced_where_they_stand_and_nowhere_else() -> None:
    text = 'a: 1  # one\nb:\n  - {c: 2, d: "3"}\n  - c: 4\n'
    changed = replace_values(text, {('b', 0, 'd'): '33', ('b', 1, 'c'): '-4.5', ('a',): '0'})
    assert changed == 'a: 0  # one\nb:\n  - {c: 2, d: 33}\n  - c: -4.5\n'
    for path in (('b', 2, 'c'), ('e',), ('b',), ('a', 'b')):
        with pytest.raises(ConfigurationError, match='there is no value'):
            replace_values(text, {path: '0'})


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def servos(files: Path) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Both arms' servos behind serial ports."""
    program = 'from hiwm_robot.programs import bus_emulator; bus_emulator()'
    started = {}
    for name in ('reference_leader', 'reference_arm'):
        words = ['--config', str(files / f'{name}.yaml'), '--link', str(files / name)]
        started[name] = subprocess.Popen(
            [sys.executable, '-c', program, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    for process in started.values():
        assert process.stdout is not None and process.stdout.readline()
    yield started
    for process in started.values():
        assert process.stdin is not None
        process.stdin.close()
        process.terminate()
        process.wait(30.0)


def place(process: subprocess.Popen[str], servo_angles: np.ndarray) -> None:
    assert process.stdin is not None and process.stdout is not None
    for number, angle in enumerate(servo_angles, start=1):
        process.stdin.write(f'put {number} {angle}\n')
        process.stdin.flush()
        assert process.stdout.readline() == 'ok\n'


def test_the_command_calibrates_on_serial_ports(
    files: Path, servos: dict[str, subprocess.Popen[str]]
) -> None:
    leader, figures = files / 'reference_leader.yaml', files / 'figures.json'
    words = ['--leader', str(leader), '--follower', str(files / 'reference_arm.yaml')]
    words += ['--poses', '3', '--json', str(figures)]
    program = 'from hiwm_robot.programs import calibrate_leader; calibrate_leader()'
    person = subprocess.Popen(
        [sys.executable, '-c', program, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert person.stdin is not None and person.stdout is not None
    wanted = wanted_angles(LEADER, FOLLOWER, POSES)
    said = ''
    for pose in range(4):
        while not said.endswith('press Enter. '):
            letter = person.stdout.read(1)
            assert letter, said
            said += letter
        if pose:
            place(servos['reference_leader'], mounted(wanted[pose - 1]))
            place(servos['reference_arm'], follower_servos(POSES[pose - 1]))
        said = ''
        person.stdin.write('\n')
        person.stdin.flush()
    rest, _ = person.communicate(timeout=60.0)
    assert person.returncode == 0
    assert 'waist: offset 3.05' in rest and f'{leader} is written' in rest
    assert [joint.offset for joint in read_arm(leader).joints] == pytest.approx(OFFSETS, abs=2e-3)
    assert json.loads(figures.read_text())['largest_error_rad'] < 2e-3
    assert cv2.imread(str(leader.with_suffix('.png'))) is not None


def test_ports_that_are_the_same_are_refused_before_anything_goes_limp(files: Path) -> None:
    program = 'from hiwm_robot.programs import calibrate_leader; calibrate_leader()'
    words = ['--leader', str(files / 'reference_leader.yaml'), '--leader-port', '/dev/x']
    words += ['--follower', str(files / 'reference_arm.yaml'), '--follower-port', '/dev/x']
    ended = subprocess.run(
        [sys.executable, '-c', program, *words],
        capture_output=True, text=True, timeout=60.0, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 1 and ended.stdout == ''
    assert ended.stderr == (
        'calibrate_leader: both arms have the port /dev/x; name them by --leader-port and '
        '--follower-port\n'
    )


def test_angles_are_those_of_the_servos_table() -> None:
    leader, port = arm('leader', LEADER)
    leader.connect()
    put(port, np.full(6, 1000 * table.RADIANS_PER_TICK))
    assert leader.servo_angles() == pytest.approx(np.full(6, 1000 * table.RADIANS_PER_TICK))
