# SPDX-License-Identifier: Apache-2.0
"""The process of an arm's control loop; started by `arm_process`, and by nobody else.

It shares its interpreter with nothing, collects no garbage while it turns, and asks the system to
be served before other processes. Ctrl-C is none of its business: its node says when it ends.
"""

from __future__ import annotations

import argparse
from contextlib import suppress
import gc
import os
from pathlib import Path
import signal
import socket
import sys

from hiwm_core.error import ConfigurationError
from hiwm_core.task import load_task
from hiwm_robot.dynamixel.arm import Arm
from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.arm_memory import ArmMemory
from hiwm_robot.dynamixel.arm_order import Answer
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.command_space import command_space
from hiwm_robot.dynamixel.control_loop import BEGIN, STIFF, ControlLoop
from hiwm_robot.dynamixel.port import ServoPort

PRIORITY = 50  # in real time, as ros2_control's
NICENESS = -10  # where real time is not allowed


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--arm', type=Path, required=True)
    parser.add_argument('--port', required=True)
    parser.add_argument('--task', required=True)
    parser.add_argument('--dry-run', action='store_true')
    parser.add_argument('--orders', type=int, required=True, help='descriptor of a socket')
    parser.add_argument('--memory', type=int, required=True, help='descriptor of shared memory')
    return parser.parse_args()


def _come_first() -> str:
    """Ask to be served before others; returns what was granted, for a person."""
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        return f'in real time (SCHED_FIFO {PRIORITY})'
    with suppress(OSError):
        os.nice(NICENESS)
        return f'at niceness {NICENESS}, for real time is not allowed here (see `ulimit -r`)'
    return 'without priority, for the system allows none (see `ulimit -r`)'


def _prepare() -> str:
    gc.collect()
    gc.freeze()
    gc.disable()
    return _come_first()


def _make_arm(arguments: argparse.Namespace) -> Arm:
    config = read_arm(arguments.arm)
    task = load_task(arguments.task)
    bus = ServoBus(
        ServoPort(arguments.port, config.baud_rate),
        {joint.servo: joint.name for joint in config.joints},
    )
    return Arm(
        config,
        bus,
        command_space(task, config),
        period=task.period,
        dry_run=arguments.dry_run,
    )


def main() -> int:
    """Run until the orders end.

    Returns:
        0: no servo has torque. 1: the arm cannot be set up, which is answered. STIFF: a servo may
        still have torque, which the arm's memory says.
    """
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders = socket.socket(fileno=arguments.orders)
    orders.setblocking(False)
    try:
        arm = _make_arm(arguments)
    except ConfigurationError as error:
        orders.send(Answer(BEGIN, error.code, error.message).pack())
        return 1
    task = load_task(arguments.task)
    memory = ArmMemory(arguments.memory, len(arm.config.joints), len(task.actions))
    loop = ControlLoop(arm, orders, memory)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: loop.come_to_rest())
    if not loop.begin(_prepare):
        return 1
    left = loop.run()
    if left and loop.abandoned:
        # Where the node ended, its terminal may have gone too.
        with suppress(OSError):
            print(f'dynamixel_arm: {left}', file=sys.stderr)
    return STIFF if left else 0


if __name__ == '__main__':
    sys.exit(main())
