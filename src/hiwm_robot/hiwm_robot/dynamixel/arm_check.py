# SPDX-License-Identifier: Apache-2.0
"""What an arm's file may say: the ranges of its values, and what no single entry can tell."""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import TYPE_CHECKING, NoReturn

from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.compensation import check_compensation

if TYPE_CHECKING:
    from hiwm_robot.dynamixel.arm_config import ArmConfig, Gripper, Joint, SafetyLimits

LARGEST_ID = 252
LARGEST_GAIN = 16383
# What can be written to the bus watchdog, s.
LONGEST_BUS_WATCHDOG = 127 * table.WATCHDOG_TICK
# Of a joint's `max_speed`, what its servo may catch up with; below what counts as overspeed.
CATCH_UP = 1.1
# What can be written to the profile velocity, as a `max_speed` in rad/s.
LARGEST_SPEED = table.LARGEST_VELOCITY * table.RADIANS_PER_SECOND / CATCH_UP
LEAST_OVERSPEED = 1.2
STOP_TORQUES = ('hold', 'release')


def check(config: ArmConfig, source: str) -> None:
    """Whether an arm can be as its file says.

    Args:
        source: What sentences call the file.

    Raises:
        ConfigurationError: It cannot; the sentence says where.
    """

    def refuse(sentence: str) -> NoReturn:
        raise ConfigurationError(f'{source}: {sentence}')

    if config.baud_rate not in table.BAUD_CODES:
        known = ', '.join(map(str, table.BAUD_CODES))
        refuse(f'baud_rate is {config.baud_rate}; the servos know {known}')
    if not 10.0 <= config.rate <= 500.0:
        refuse(f'rate is {config.rate:g} Hz; it must be 10 to 500')
    if not config.limits.watchdog > 2.0 / config.rate:
        refuse(
            f'safety.watchdog is {config.limits.watchdog:g} s; it must be longer than two turns of '
            f'the control loop, {2.0 / config.rate:g} s'
        )
    if not config.joints:
        refuse('an arm needs at least one joint')
    for kind, values in (('id', config.servos), ('name', config.names)):
        for value in values:
            if list(values).count(value) > 1:
                refuse(f'two joints have the {kind} {value!r}; each needs its own')
    for joint in config.joints:
        _check_joint(joint, refuse)
    _check_limits(config.limits, refuse)
    if config.gripper is not None:
        _check_gripper(config, config.gripper, refuse)
    if config.compensation is not None:
        gripper = config.gripper.joint if config.gripper is not None else None
        check_compensation(config.compensation, config.joints, gripper, refuse)


def _check_joint(joint: Joint, refuse: Callable[[str], NoReturn]) -> None:
    who = f"joint '{joint.name}'"
    if not 0 <= joint.servo <= LARGEST_ID:
        refuse(f'{who} has the id {joint.servo}; it must be 0 to {LARGEST_ID}')
    if joint.direction not in {-1, 1}:
        refuse(f'{who} has the direction {joint.direction}; it must be 1 or -1')
    if not joint.low < joint.high:
        refuse(f'{who} needs limits [low, high] with low < high')
    counts = sorted((joint.count_of(joint.low), joint.count_of(joint.high)))
    if counts[0] < 0 or counts[1] >= table.TICKS_PER_TURN:
        refuse(
            f'{who} has limits that need the servo at {counts[0]} to {counts[1]} counts; '
            f'it turns from 0 to {table.TICKS_PER_TURN - 1}; change the limits or the offset'
        )
    if not 0.0 < joint.max_speed <= LARGEST_SPEED:
        refuse(
            f'{who} has a max_speed of {joint.max_speed:g} rad/s; it must be larger than 0 and at '
            f'most {LARGEST_SPEED:.0f}'
        )
    if any(not 0 <= gain <= LARGEST_GAIN for gain in joint.gains):
        refuse(f'{who} has a gain outside of 0 to {LARGEST_GAIN}')
    if joint.model.current_unit is None and joint.current_limit is not None:
        refuse(f'{who} has a current_limit, which the {joint.model.name} does not know; remove it')
    if joint.model.current_unit is not None:
        unit, limit = joint.model.current_unit, joint.current_limit or 0.0
        if not 0.0 < limit < (joint.model.largest_current + 0.5) * unit:
            refuse(
                f'{who} has a current_limit of {limit:g} A; it must be larger than 0 A and at most '
                f'{joint.model.largest_current * unit:.4g} A, the most that its {joint.model.name} '
                'takes'
            )


def _check_limits(limits: SafetyLimits, refuse: Callable[[str], NoReturn]) -> None:
    for name in ('start_speed', 'max_lag', 'overcurrent_time'):
        if not getattr(limits, name) > 0.0:
            refuse(f'safety.{name} must be larger than 0')
    if not table.WATCHDOG_TICK <= limits.bus_watchdog <= LONGEST_BUS_WATCHDOG:
        refuse(
            f'safety.bus_watchdog is {limits.bus_watchdog:g} s; '
            f'it must be {table.WATCHDOG_TICK:g} to {LONGEST_BUS_WATCHDOG:g}'
        )
    if not limits.overspeed >= LEAST_OVERSPEED:
        refuse(
            f'safety.overspeed must be {LEAST_OVERSPEED:g} or more, else the arm stops at its own '
            'speed'
        )
    if not 30.0 <= limits.temperature <= 80.0:
        refuse(f'safety.temperature is {limits.temperature:g} degC; it must be 30 to 80')
    if limits.stop_torque not in STOP_TORQUES:
        refuse(f"safety.stop_torque is '{limits.stop_torque}'; it must be hold or release")


def _check_gripper(config: ArmConfig, gripper: Gripper, refuse: Callable[[str], NoReturn]) -> None:
    if gripper.joint not in config.names:
        refuse(f"gripper names the joint '{gripper.joint}'; there is: {', '.join(config.names)}")
    joint = config.joints[config.names.index(gripper.joint)]
    if not all(joint.low <= angle <= joint.high for angle in (gripper.closed, gripper.open)):
        refuse(f"gripper opens or closes beyond the limits of joint '{joint.name}'")
    if math.isclose(gripper.closed, gripper.open):
        refuse('gripper needs different angles for closed and open')
    if not 0.0 <= gripper.hold <= 1.0:
        refuse(f'gripper.hold is {gripper.hold:g}; it must be 0 (closed) to 1 (open)')
