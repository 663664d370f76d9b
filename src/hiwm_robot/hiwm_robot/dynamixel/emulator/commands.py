# SPDX-License-Identifier: Apache-2.0
"""Faults by command: a line of text changes what the emulated bus does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
from typing import Any

from hiwm_core.error import HiwmError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.control_table import HardwareError
from hiwm_robot.dynamixel.emulator.serial_device import SerialDevice
from hiwm_robot.dynamixel.emulator.servo import ROOM_TEMPERATURE, EmulatedServo


@dataclass(frozen=True)
class Command:
    """A command's arguments as a person reads them, what it does, and how it is done."""

    arguments: str
    meaning: str
    perform: Callable[[SerialDevice, list[float]], Any]


def _servo(device: SerialDevice, number: float) -> EmulatedServo:
    servo = device.bus.servos.get(int(number))
    if servo is None:
        there = ', '.join(map(str, device.bus.servos))
        raise HiwmError(f'there is no servo {number:g}; there are: {there}')
    return servo


def _set_wire(name: str) -> Callable[[SerialDevice, list[float]], None]:
    def perform(device: SerialDevice, values: list[float]) -> None:
        setattr(device.bus.faults, name, values[0])

    return perform


def _miss(device: SerialDevice, values: list[float]) -> None:
    device.bus.faults.missing |= {_servo(device, values[0]).number}


def _find(device: SerialDevice, values: list[float]) -> None:
    device.bus.faults.missing -= {int(values[0])}


def _load(device: SerialDevice, values: list[float]) -> None:
    _servo(device, values[0]).load = values[1]


def _heat(device: SerialDevice, values: list[float]) -> None:
    _servo(device, values[0]).heat = values[1] - ROOM_TEMPERATURE


def _fail(device: SerialDevice, values: list[float]) -> None:
    _servo(device, values[0]).fail(HardwareError(int(values[1])))


def _put(device: SerialDevice, values: list[float]) -> None:
    _servo(device, values[0]).put(values[1])


def _push(device: SerialDevice, values: list[float]) -> None:
    _servo(device, values[0]).push = values[1]


def _unplug(device: SerialDevice, values: list[float]) -> None:
    device.unplug()


def _plug(device: SerialDevice, values: list[float]) -> None:
    device.plug_in()


def _state(device: SerialDevice, values: list[float]) -> dict[str, Any]:
    return {
        str(servo.number): {
            'torque': servo.torque,
            'position': servo.position,
            'velocity': servo.velocity,
            'current': servo.current,
            'goal': servo.value(table.GOAL_POSITION) * table.RADIANS_PER_TICK,
            'bus_watchdog': servo.value(table.BUS_WATCHDOG),
            'hardware_error': servo.value(table.HARDWARE_ERROR),
        }
        for servo in device.bus.servos.values()
    }


def _goals(device: SerialDevice, values: list[float]) -> dict[str, Any]:
    told = {}
    for servo in device.bus.servos.values():
        seen = servo.lowest <= servo.highest
        told[str(servo.number)] = {
            'lowest': servo.lowest if seen else None,
            'highest': servo.highest if seen else None,
            'age': servo.goal_age,
            'still_for': servo.still_for,
        }
        servo.forget_goals()
    return told


COMMANDS = {
    'latency': Command('SECONDS', 'every answer comes so much later', _set_wire('latency')),
    'drop': Command('SHARE', 'so many packets vanish, 0 to 1', _set_wire('drop')),
    'damage': Command('SHARE', 'so many packets are damaged, 0 to 1', _set_wire('damage')),
    'miss': Command('ID', 'the servo falls off the bus', _miss),
    'find': Command('ID', 'the servo is there again', _find),
    'load': Command('ID SHARE', 'something pushes with this share of the current limit', _load),
    'heat': Command('ID CELSIUS', 'the servo is so hot', _heat),
    'fail': Command('ID BITS', 'the servo reports this hardware error', _fail),
    'put': Command('ID RADIANS', 'the output is moved by hand', _put),
    'push': Command('ID NEWTONMETRES', 'a hand turns the output; needs --weight', _push),
    'unplug': Command('', 'the port vanishes', _unplug),
    'plug': Command('', 'the port returns', _plug),
    'goals': Command('', 'tell which goals were accepted since the last time, as JSON', _goals),
    'state': Command('', 'tell of every servo, as JSON', _state),
}


def help_lines() -> list[str]:
    """What can be typed."""
    return [
        f'  {f"{name} {command.arguments}".strip():<18} {command.meaning}'
        for name, command in COMMANDS.items()
    ]


def perform(device: SerialDevice, line: str) -> str:
    """Do what a line says; returns one line: 'ok', JSON, or 'error: ' and a sentence."""
    name, *words = line.split()
    command = COMMANDS.get(name)
    if command is None:
        return f"error: there is no command '{name}'; there is: {', '.join(COMMANDS)}"
    if len(words) != len(command.arguments.split()):
        return f"error: '{name}' needs {command.arguments or 'nothing more'}"
    try:
        result = command.perform(device, [float(word) for word in words])
    except HiwmError as error:
        return f'error: {error.message}'
    except ValueError:
        return f"error: '{name}' needs {command.arguments} as numbers"
    return 'ok' if result is None else json.dumps(result)
