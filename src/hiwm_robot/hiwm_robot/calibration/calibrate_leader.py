# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_robot calibrate_leader`: where the servos of a leader arm are at 0.

Both arms go without torque; a person puts them in the same pose, several times, and presses Enter
each time. The leader's file gets new offsets and directions, and keeps all else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiwm_core.command import Parser
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.json_file import write_json
from hiwm_core.whole_file import write_whole
from hiwm_robot.calibration.command_line import add_results, number, run
from hiwm_robot.calibration.leader_fit import (
    LEAST_POSES,
    JointFit,
    fit_leader,
    wanted_angles,
    worst_of,
)
from hiwm_robot.calibration.leader_picture import draw_leader
from hiwm_robot.calibration.posed_arm import PosedArm
from hiwm_robot.calibration.yaml_edit import replace_values
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.arm_file import open_arm_file
from hiwm_robot.dynamixel.bus import BusError, ServoBus
from hiwm_robot.dynamixel.port import ServoPort

FloatArray = NDArray[np.float64]

NAME = 'calibrate_leader'


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=NAME,
        description='Put both arms into the same pose, several times; the offsets and directions '
        "of the leader's file are fitted to that. Both arms go limp: hold them.",
    )
    parser.add_argument('--leader', type=Path, required=True, metavar='FILE', help="its arm's file")
    parser.add_argument(
        '--follower', default='', metavar='FILE', help="its arm's file (default: the reference arm)"
    )
    parser.add_argument('--leader-port', default='', help='if it is not the one in the file')
    parser.add_argument('--follower-port', default='', help='if it is not the one in the file')
    parser.add_argument(
        '--poses', type=number(LEAST_POSES, 50, int), default=6, metavar='N', help='default: 6'
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE', help='where the new file goes (default: --leader)'
    )
    add_results(parser, 'where the result is drawn (default: beside the new file)')
    return parser


def main() -> int:
    """The executable `calibrate_leader`; returns its exit code."""
    arguments = _parser().parse_args()
    return run(NAME, lambda: _calibrate(arguments))


def _calibrate(arguments: argparse.Namespace) -> int:
    leader_config = open_arm_file(str(arguments.leader), arguments.leader_port)
    follower_config = open_arm_file(arguments.follower, arguments.follower_port)
    if leader_config.port == follower_config.port:
        raise HiwmError(
            f'both arms have the port {leader_config.port}; name them by --leader-port and '
            '--follower-port'
        )
    # Raises before anything goes limp.
    wanted_angles(leader_config, follower_config, np.zeros((1, len(follower_config.joints))))
    with ExitStack() as opened:
        leader = _open('leader', leader_config, opened)
        follower = _open('follower', follower_config, opened)
        _wait('Both arms go limp now: hold them, then press Enter.')
        leader.connect()
        follower.connect()
        servo_angles, angles = take_poses(leader, follower, arguments.poses, _wait)
    wanted = wanted_angles(leader_config, follower_config, angles)
    fits = fit_leader(leader_config, servo_angles, wanted)
    out = arguments.out or arguments.leader
    write_leader(arguments.leader, out, fits)
    picture = arguments.picture or out.with_suffix('.png')
    draw_leader(picture, leader_config.name, fits)
    if arguments.json is not None:
        write_json(arguments.json, _figures(fits))
    for fit in fits:
        print(
            f'{fit.name}: offset {fit.offset:.4f} rad, direction {fit.direction:+d}, error '
            f'{math.degrees(fit.error):.2f} degrees'
        )
    print(f'{out} is written, and drawn in {picture}')
    return 0


def _open(role: str, config: ArmConfig, opened: ExitStack) -> PosedArm:
    names = {joint.servo: joint.name for joint in config.joints}
    arm = PosedArm(role, config, ServoBus(ServoPort(config.port, config.baud_rate), names))
    opened.callback(arm.close)
    return arm


def _wait(sentence: str) -> None:
    try:
        input(f'{sentence} ')
    except EOFError as error:
        raise HiwmError('the input ended before Enter was pressed; run it in a terminal') from error


def take_poses(
    leader: PosedArm, follower: PosedArm, count: int, wait: Callable[[str], None]
) -> tuple[FloatArray, FloatArray]:
    """Read both arms in so many poses.

    Args:
        wait: Tells the person a sentence and returns when they are ready.

    Returns:
        rad (P, K), the angles of the leader's servos, and (P, J), of the follower's joints.

    Raises:
        HiwmError: A port or a servo is gone for good.
    """
    servo_angles: list[FloatArray] = []
    angles: list[FloatArray] = []
    hint = ''
    while len(angles) < count:
        pose = f'Pose {len(angles) + 1} of {count}'
        wait(f'{hint}{pose}: put both arms into the same pose, hold them still, and press Enter.')
        try:
            taken = leader.servo_angles(), follower.angles()
        except BusError:
            raise
        except HiwmError as error:
            # The person can mend that.
            hint = f'{error.message}. '
            continue
        servo_angles.append(taken[0])
        angles.append(taken[1])
        hint = ''
    return np.array(servo_angles), np.array(angles)


def write_leader(source: Path, out: Path, fits: tuple[JointFit, ...]) -> None:
    """The leader's file with new offsets and directions, whole or not at all.

    Raises:
        ConfigurationError: With these offsets a joint's limits lie beyond the servo's range.
        HiwmError: STORAGE_FAULT.
    """
    values: dict[tuple[str | int, ...], str] = {}
    for place, fit in enumerate(fits):
        values['joints', place, 'offset'] = f'{fit.offset:.5f}'
        values['joints', place, 'direction'] = str(fit.direction)
    text = replace_values(source.read_text(encoding='utf-8'), values)
    # Beside the source, since it names its URDF from there.
    trial = source.with_name(f'.{source.name}.trial')
    write_whole(trial, text)
    try:
        read_arm(trial)
    except ConfigurationError as error:
        sentence = error.message.replace(str(trial), str(source))
        raise ConfigurationError(f'the offsets do not fit the file: {sentence}') from error
    finally:
        trial.unlink(missing_ok=True)
    write_whole(out, text)


def _figures(fits: tuple[JointFit, ...]) -> dict[str, object]:
    return {
        'poses': len(fits[0].residuals),
        'largest_error_rad': worst_of(fits).error,
        'joints': {
            fit.name: {
                'offset_rad': fit.offset,
                'direction': fit.direction,
                'error_rad': fit.error,
                'held_out_error_rad': fit.held_out,
                'residuals_rad': fit.residuals.tolist(),
            }
            for fit in fits
        },
    }
