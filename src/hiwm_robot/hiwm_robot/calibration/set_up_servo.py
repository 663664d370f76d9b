# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_robot set_up_servo`: which servos are on a bus, and one servo's id and baud rate.

Without --id and --baud-rate it only looks. New servos all have the id 1 and 57600 baud, so they are
set up one at a time, with no other on the bus.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import math

from tqdm import tqdm

from hiwm_core.command import Parser
from hiwm_core.error import HiwmError
from hiwm_core.json_file import write_json
from hiwm_robot.calibration.command_line import add_results, number, run
from hiwm_robot.calibration.servo_picture import draw_servos
from hiwm_robot.calibration.servo_scan import BAUD_RATES, FoundServo, ServoScan
from hiwm_robot.calibration.servo_setup import check, choose, set_up
from hiwm_robot.dynamixel.arm_check import LARGEST_ID
from hiwm_robot.dynamixel.control_table import model_name
from hiwm_robot.dynamixel.port import ServoPort

NAME = 'set_up_servo'


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=NAME,
        description='Look for servos at every baud rate, and give one of them an id and a baud '
        'rate. Without --id and --baud-rate nothing is changed.',
    )
    parser.add_argument('--port', required=True, help='the serial port')
    parser.add_argument('--id', type=number(0, LARGEST_ID, int), metavar='N', help='the new id')
    parser.add_argument(
        '--baud-rate', type=int, choices=sorted(BAUD_RATES), metavar='RATE',
        help=f'the new baud rate: {", ".join(map(str, sorted(BAUD_RATES)))}',
    )  # fmt: skip
    parser.add_argument(
        '--servo', type=number(0, LARGEST_ID, int), metavar='N',
        help='the present id, if there is more than one servo',
    )  # fmt: skip
    parser.add_argument('--at', type=int, choices=sorted(BAUD_RATES), metavar='RATE',
                        help='its present baud rate, likewise')  # fmt: skip
    add_results(parser, 'where the servos are drawn (default: nowhere)')
    return parser


def main() -> int:
    """The executable `set_up_servo`; returns its exit code."""
    arguments = _parser().parse_args()
    return run(NAME, lambda: _set_up(arguments))


def _set_up(arguments: argparse.Namespace) -> int:
    port = ServoPort(arguments.port, BAUD_RATES[0])
    port.openPort()
    try:
        with tqdm(total=len(BAUD_RATES), unit='baud rate', desc='looking') as bar:
            found = ServoScan(port).scan(done=bar.update)
        for servo in found:
            print(servo.words)
        changed = None
        if arguments.id is not None or arguments.baud_rate is not None:
            servo = choose(found, arguments.servo, arguments.at)
            new_id = servo.number if arguments.id is None else arguments.id
            rate = arguments.baud_rate or servo.baud_rate
            check(found, servo, new_id, rate)
            set_up(port, servo, new_id, rate)
            changed = replace(servo, number=new_id, baud_rate=rate)
            found[found.index(servo)] = changed
            print(f'{model_name(changed.model)} is now id {new_id} at {rate} baud')
        elif not found:
            choose(found)
    finally:
        port.closePort()
    if arguments.picture is not None:
        draw_servos(arguments.picture, arguments.port, found)
    if arguments.json is not None:
        write_json(arguments.json, {'port': arguments.port, 'servos': list(map(_told, found))})
    if changed is None and any(servo.shared for servo in found):
        raise HiwmError('an id is shared; leave one of its servos on the bus and set it up')
    return 0


def _told(servo: FoundServo) -> dict[str, object]:
    return {
        'id': servo.number,
        'baud_rate': servo.baud_rate,
        'model': None if servo.model < 0 else model_name(servo.model),
        'answered': servo.answered,
        'shared': servo.shared,
        'voltage': servo.voltage if math.isfinite(servo.voltage) else None,
        'temperature': servo.temperature if math.isfinite(servo.temperature) else None,
    }
