# SPDX-License-Identifier: Apache-2.0
"""What an arm's file says about bearing the arm's weight by current."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from hiwm_core.entry import Entry

if TYPE_CHECKING:
    from hiwm_robot.dynamixel.arm_config import Joint

# Beyond it the masses of the URDF are wrong, not the torque constant.
LARGEST_FACTOR = 2.0


@dataclass(frozen=True)
class Compensation:
    """Of one arm.

    Attributes:
        factors: Of the torque that the URDF's masses and the model's torque constant ask for, by
            joint; a joint that is not named has no torque.
        spring: A, with which the gripper is opened; 0: it has no torque.
    """

    factors: Mapping[str, float]
    spring: float


def read_compensation(entry: Entry) -> Compensation:
    """The entry `compensation` of an arm's file. Raises ConfigurationError."""
    factors = entry.entry('factors')
    compensation = Compensation(
        factors={name: factors.number(name) for name in factors.names()},
        spring=entry.number('spring') if 'spring' in entry else 0.0,
    )
    entry.finish()
    for name, factor in compensation.factors.items():
        if not 0.0 < factor <= LARGEST_FACTOR:
            raise factors.refusal(name, f'is {factor:g}; it must be above 0, to {LARGEST_FACTOR:g}')
    if not compensation.factors:
        raise entry.refusal('factors', 'must name a joint at least')
    if compensation.spring < 0.0:
        raise entry.refusal('spring', f'is {compensation.spring:g} A; it must not be negative')
    return compensation


def check_compensation(
    compensation: Compensation,
    joints: Sequence[Joint],
    gripper: str | None,
    refuse: Callable[[str], NoReturn],
) -> None:
    """Whether the entry fits the arm; `refuse` is called with a sentence where it does not.

    Args:
        compensation: The entry.
        joints: Of the arm.
        gripper: Name of its joint; None: there is none.
    """
    names = [joint.name for joint in joints]
    for name in compensation.factors:
        if name == gripper:
            refuse(f"compensation.factors names the gripper '{name}', that has a spring; remove it")
        if name not in names:
            refuse(f"compensation.factors names '{name}', which is not one of: {', '.join(names)}")
    if compensation.spring and gripper is None:
        refuse('compensation.spring opens a gripper, and there is none; remove it')
    for joint in joints:
        sprung = joint.name == gripper and compensation.spring > 0.0
        if joint.name not in compensation.factors and not sprung:
            continue
        if joint.current_limit is None:
            refuse(
                f"joint '{joint.name}' cannot be compensated, for the {joint.model.name} is not "
                'driven by current; remove it from compensation, or use another model'
            )
        if sprung and compensation.spring > joint.current_limit:
            refuse(
                f'compensation.spring is {compensation.spring:g} A, more than the current_limit of '
                f"joint '{joint.name}', {joint.current_limit:g} A"
            )
