# SPDX-License-Identifier: Apache-2.0
"""The executable `bus_emulator`: the servos of an arm's file behind a pseudo terminal.

It prints the port and then obeys lines on its standard input, each answered by one line.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
import os
from pathlib import Path
import sys
import tempfile

from hiwm_core.command import Parser
from hiwm_core.error import HiwmError
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.emulator.bus import Body, EmulatedBus
from hiwm_robot.dynamixel.emulator.commands import help_lines, perform
from hiwm_robot.dynamixel.emulator.serial_device import SerialDevice
from hiwm_robot.dynamixel.emulator.servo import EmulatedServo

HEAVIEST = 10.0
PRIORITY = 50  # in real time, where the system allows it


def emulated_bus(
    config: ArmConfig,
    seed: int = 0,
    angles: list[float] | None = None,
    weight: float = 0.0,
) -> EmulatedBus:
    """The servos that an arm's file asks for.

    Args:
        config: The arm.
        seed: Of the faults that are drawn.
        angles: rad of each joint at the beginning; None: at 0, or as near as its limits allow.
        weight: Of the links, as a share of what the URDF says; 0: there are no links, and a servo
            that holds no position stays where it is put.

    Raises:
        ConfigurationError: There is a weight, and the URDF cannot be used.
    """
    if angles is None:
        angles = [min(max(0.0, joint.low), joint.high) for joint in config.joints]
    servos = [
        EmulatedServo(
            joint.servo, joint.model, joint.offset + joint.direction * angle, config.baud_rate
        )
        for joint, angle in zip(config.joints, angles, strict=True)
    ]
    body: Body | None = None
    if weight:
        # MuJoCo takes its time to be imported, and servos without links do not need it.
        from hiwm_robot.dynamixel.emulator.arm_body import ArmBody  # noqa: PLC0415

        body = ArmBody(config, servos, weight)
    return EmulatedBus(servos, config.baud_rate, seed, body)


def _arguments() -> argparse.Namespace:
    parser = Parser(
        prog='bus_emulator',
        description="Emulates an arm's servos behind a serial port that any program can open.",
        epilog='On standard input it takes, each answered by one line:\n' + '\n'.join(help_lines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--config', type=Path, required=True, help="the arm's file")
    parser.add_argument('--link', type=Path, help='where the port is to appear; default: in /tmp')
    parser.add_argument('--seed', type=int, default=0, help='of the faults that are drawn')
    parser.add_argument(
        '--angles', type=float, nargs='+', help='rad of every joint at the beginning; default: 0'
    )
    parser.add_argument(
        '--weight',
        type=float,
        default=0.0,
        help="of the arm's links, as a share of the URDF's: a limp arm falls; default: 0, it stays",
    )
    return parser.parse_args()


def main() -> int:
    """Serve the bus until an interrupt, or `quit` on standard input."""
    arguments = _arguments()
    try:
        config = read_arm(arguments.config)
        if arguments.angles is not None and len(arguments.angles) != len(config.joints):
            raise HiwmError(f'--angles needs {len(config.joints)} numbers, one for each joint')
        link = arguments.link or Path(tempfile.mkdtemp(prefix='hiwm-bus-')) / 'port'
        if not link.parent.is_dir():
            raise HiwmError(f'there is no folder {link.parent} for the port; make it first')
        if link.exists() and not link.is_symlink():
            raise HiwmError(f'{link} is there already and no link; choose another --link')
        if not 0.0 <= arguments.weight <= HEAVIEST:
            raise HiwmError(f'--weight is {arguments.weight:g}; it must be 0 to {HEAVIEST:g}')
        bus = emulated_bus(config, arguments.seed, arguments.angles, arguments.weight)
        device = SerialDevice(bus, link)
    except HiwmError as error:
        print(f'bus_emulator: {error.message}', file=sys.stderr)
        return 1
    # A servo has a processor of its own.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    try:
        print(device.link, flush=True)
        _serve(device)
    except KeyboardInterrupt:
        pass
    finally:
        device.close()
        if arguments.link is None:
            link.parent.rmdir()
    return 0


def _serve(device: SerialDevice) -> None:
    source: int | None = sys.stdin.fileno()
    typed = ''
    while True:
        if not device.turn(source):
            continue
        assert source is not None
        text = os.read(source, 4096).decode(errors='replace')
        if not text:
            # Nobody can type any more; the servos go on.
            source = None
        *lines, typed = (typed + text).split('\n')
        for line in lines:
            if line.strip() == 'quit':
                return
            if line.strip():
                print(perform(device, line), flush=True)
