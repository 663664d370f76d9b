# SPDX-License-Identifier: Apache-2.0
"""A servo's id and baud rate: what may be changed, and the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynamixel_sdk import Protocol2PacketHandler

from hiwm_core.error import HiwmError
from hiwm_robot.calibration.servo_scan import FoundServo
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.bus import BusError, ServoBus

# s that a servo takes to keep a value and to go on with it.
KEEP_TIME = 0.25


def choose(
    found: Sequence[FoundServo], number: int | None = None, baud_rate: int | None = None
) -> FoundServo:
    """The servo that is to be changed.

    Args:
        number: Its id; None: the only one there is.
        baud_rate: At which it answers; None: any.

    Raises:
        HiwmError: There is none, or more than one.
    """
    if not found:
        raise HiwmError(
            'no servo answers at any baud rate; check its power, its cable and that the port is '
            'the right one'
        )
    shared = [servo for servo in found if servo.shared]
    if shared:
        raise HiwmError(
            f'two or more servos share the id {shared[0].number} at {shared[0].baud_rate} baud; '
            'leave one of them on the bus and set it up, then the next'
        )
    fitting = [
        servo
        for servo in found
        if number in {None, servo.number} and baud_rate in {None, servo.baud_rate}
    ]
    there = '; '.join(servo.words for servo in found)
    if not fitting:
        raise HiwmError(f'there is no such servo; there is {there}')
    if len(fitting) > 1:
        raise HiwmError(
            f'there are {len(fitting)} servos ({there}); leave one on the bus, or name it by '
            '--servo and --at'
        )
    return fitting[0]


def check(found: Sequence[FoundServo], servo: FoundServo, number: int, baud_rate: int) -> None:
    """Whether a servo may get an id and a baud rate.

    It gets its id first, and so has it at its present baud rate for a moment.

    Raises:
        HiwmError: Another servo has the id at one of the two baud rates.
    """
    rates = {servo.baud_rate, baud_rate}
    for other in found:
        if other != servo and other.number == number and other.baud_rate in rates:
            raise HiwmError(
                f'the id {number} belongs to another servo at {other.baud_rate} baud '
                f'({table.model_name(other.model)}); choose another id, or leave one servo on the '
                'bus'
            )


def set_up(port: Any, servo: FoundServo, number: int, baud_rate: int) -> None:
    """Give a servo an id and a baud rate, and see that it has them.

    Nothing is waited for in between: whether a servo answers under its old id or its new one is
    nowhere written.

    Args:
        port: An open `ServoPort`, or one that behaves so; it has the new baud rate afterwards.

    Raises:
        HiwmError: It does not answer as it should; the sentence says what to do.
    """
    packets = Protocol2PacketHandler()
    port.setBaudRate(servo.baud_rate)
    bus = ServoBus(port, {})
    bus.write(servo.number, table.TORQUE_ENABLE, 0)
    for at, register, value in (
        (servo.number, table.ID, number),
        (number, table.BAUD_RATE, table.BAUD_CODES[baud_rate]),
    ):
        port.is_using = False
        packets.writeTxOnly(port, at, register.address, register.size, register.pack(value))
        port.rest(KEEP_TIME)
    port.setBaudRate(baud_rate)
    try:
        kept = bus.read(number, table.MODEL_NUMBER), bus.read(number, table.ID)
    except BusError as error:
        raise HiwmError(
            f'the servo does not answer as id {number} at {baud_rate} baud ({error.message}); '
            'look for it by running this without --id and --baud-rate'
        ) from error
    if kept != (servo.model, number):
        raise HiwmError(
            f'{table.model_name(kept[0])} answers as id {kept[1]}, not '
            f'{table.model_name(servo.model)} as {number}; is there more than one servo?'
        )
