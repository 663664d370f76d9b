# SPDX-License-Identifier: Apache-2.0
"""An arm as its file describes it; `config/reference_arm.yaml` has every field with its unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import yaml

from hiwm_core.entry import Entry
from hiwm_core.error import ConfigurationError
from hiwm_robot.dynamixel import control_table as table
from hiwm_robot.dynamixel.arm_check import check
from hiwm_robot.dynamixel.compensation import Compensation, read_compensation
from hiwm_robot.dynamixel.control_table import MODELS, Model

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """One joint and its servo; lengths and angles of the joint, not of the servo.

    Attributes:
        name: As in the URDF, and in the task where it is driven joint by joint.
        servo: Id on the bus.
        model: Of the servo.
        offset: rad, the servo's angle where the joint is at 0.
        direction: 1, or -1 where the servo turns against the joint.
        low: rad.
        high: rad.
        max_speed: rad/s of the goal.
        current_limit: A; None where the servo knows none.
        gains: P, I, D in the servo's own counts.
    """

    name: str
    servo: int
    model: Model
    offset: float
    direction: int
    low: float
    high: float
    max_speed: float
    current_limit: float | None
    gains: tuple[int, int, int]

    def count_of(self, angle: float) -> int:
        """The servo's count of a joint angle (rad)."""
        return round((self.offset + self.direction * angle) / table.RADIANS_PER_TICK)

    def angle_of(self, count: float) -> float:
        """The joint angle (rad) of a servo's count."""
        return self.direction * (count * table.RADIANS_PER_TICK - self.offset)


@dataclass(frozen=True)
class Gripper:
    """The joint that opens and closes, commanded from 0 (closed) to 1 (open).

    Attributes:
        joint: Its name.
        closed: rad.
        open: rad.
        hold: 0 to 1, where it is kept by an arm that is driven on a plane.
    """

    joint: str
    closed: float
    open: float
    hold: float

    def angle_of(self, opening: float) -> float:
        """The joint angle (rad) of an opening of 0 to 1."""
        return self.closed + opening * (self.open - self.closed)

    def opening_of(self, angle: float) -> float:
        """The opening of a joint angle (rad)."""
        return (angle - self.closed) / (self.open - self.closed)


@dataclass(frozen=True)
class Plane:
    """A table on which the tool is driven by two lengths.

    Attributes:
        actions: The two actions, in this order.
        tool: Link of the URDF whose origin touches the plane and whose x axis points into it.
        origin: m (3,), where both actions are 0, in the arm's base frame.
        x_axis: (3,), where the first action leads; its length is metres per metre.
        y_axis: (3,), where the second leads.
    """

    actions: tuple[str, str]
    tool: str
    origin: tuple[float, float, float]
    x_axis: tuple[float, float, float]
    y_axis: tuple[float, float, float]


@dataclass(frozen=True)
class SafetyLimits:
    """What the arm's own process watches, whatever it is told.

    Attributes:
        watchdog: s without a command, within which the measured position is held.
        bus_watchdog: s without a word on the bus, after which each servo stops by itself.
        start_speed: rad/s of every joint until the first command is reached.
        max_lag: rad, how far a goal may run ahead of the measured joint.
        temperature: degC, at which the torque goes off.
        overspeed: Share of `max_speed` at which the arm stops.
        overcurrent_time: s that a joint may need its whole current.
        stop_torque: 'hold' or 'release': what an emergency stop does with the torque.
        fence: m, low and high of x, y and z in the base frame, which the tool's goal never leaves.
    """

    watchdog: float
    bus_watchdog: float
    start_speed: float
    max_lag: float
    temperature: float
    overspeed: float
    overcurrent_time: float
    stop_torque: str
    fence: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class ArmConfig:
    """An arm.

    Attributes:
        name: What sentences call it.
        port: Device file.
        baud_rate: Bits/s.
        urdf: File.
        tool: Link of the URDF that the fence is about.
        rate: Hz, of the control loop.
        joints: From the base on.
        gripper: None: it has none.
        plane: None: it is not driven on a plane.
        limits: What is watched.
        compensation: What bears its weight by current; None: nothing does.
    """

    name: str
    port: str
    baud_rate: int
    urdf: Path
    tool: str
    rate: float
    joints: tuple[Joint, ...]
    gripper: Gripper | None
    plane: Plane | None
    limits: SafetyLimits
    compensation: Compensation | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the joints."""
        return tuple(joint.name for joint in self.joints)

    @property
    def servos(self) -> tuple[int, ...]:
        """Ids, in the joints' order."""
        return tuple(joint.servo for joint in self.joints)

    @property
    def low(self) -> FloatArray:
        """rad (J,)."""
        return np.array([joint.low for joint in self.joints])

    @property
    def high(self) -> FloatArray:
        """rad (J,)."""
        return np.array([joint.high for joint in self.joints])

    @property
    def max_speed(self) -> FloatArray:
        """rad/s (J,)."""
        return np.array([joint.max_speed for joint in self.joints])


def read_arm(path: Path) -> ArmConfig:
    """Read and check an arm's file.

    Raises:
        ConfigurationError: It cannot be read or is not right; the sentence says where.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigurationError(f'the arm file {path} cannot be read: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'the arm file {path} is not YAML: {error}') from error
    config = _build(Entry(data, str(path)), path)
    check(config, str(path))
    return config


def _build(file: Entry, path: Path) -> ArmConfig:
    config = ArmConfig(
        name=file.text('arm'),
        port=file.text('port'),
        baud_rate=file.integer('baud_rate'),
        urdf=path.parent / file.text('urdf'),
        tool=file.text('tool'),
        rate=file.number('rate'),
        joints=tuple(_build_joint(entry) for entry in file.entries('joints')),
        gripper=_build_gripper(file.entry('gripper')) if 'gripper' in file else None,
        plane=_build_plane(file.entry('plane')) if 'plane' in file else None,
        limits=_build_limits(file.entry('safety')),
        compensation=(
            read_compensation(file.entry('compensation')) if 'compensation' in file else None
        ),
    )
    file.finish()
    return config


def _build_joint(entry: Entry) -> Joint:
    low, high = entry.range('limits')
    model = entry.text('model')
    if model not in MODELS:
        raise entry.refusal('model', f"is '{model}'; the known ones are: {', '.join(MODELS)}")
    gains = entry.entry('gains')
    joint = Joint(
        name=entry.text('name'),
        servo=entry.integer('id'),
        model=MODELS[model],
        offset=entry.number('offset'),
        direction=entry.integer('direction'),
        low=low,
        high=high,
        max_speed=entry.number('max_speed'),
        current_limit=entry.number('current_limit') if 'current_limit' in entry else None,
        gains=(gains.integer('p'), gains.integer('i'), gains.integer('d')),
    )
    gains.finish()
    entry.finish()
    return joint


def _build_gripper(entry: Entry) -> Gripper:
    gripper = Gripper(
        entry.text('joint'), entry.number('closed'), entry.number('open'), entry.number('hold')
    )
    entry.finish()
    return gripper


def _build_plane(entry: Entry) -> Plane:
    actions = entry.texts('actions')
    if len(actions) != 2 or actions[0] == actions[1]:
        raise entry.refusal('actions', 'must name two actions')
    plane = Plane(
        actions=(actions[0], actions[1]),
        tool=entry.text('tool'),
        origin=_vector(entry, 'origin'),
        x_axis=_vector(entry, 'x_axis'),
        y_axis=_vector(entry, 'y_axis'),
    )
    entry.finish()
    x, y = np.array(plane.x_axis), np.array(plane.y_axis)
    if np.linalg.norm(np.cross(x, y)) < 0.5 * np.linalg.norm(x) * np.linalg.norm(y) + 1e-9:
        raise entry.refusal('y_axis', 'must lead another way than x_axis')
    return plane


def _vector(entry: Entry, key: str) -> tuple[float, float, float]:
    values = entry.numbers(key)
    if len(values) != 3:
        raise entry.refusal(key, f'must be three numbers, not {len(values)}')
    return (values[0], values[1], values[2])


def _build_limits(entry: Entry) -> SafetyLimits:
    fence = entry.entry('fence')
    limits = SafetyLimits(
        watchdog=entry.number('watchdog'),
        bus_watchdog=entry.number('bus_watchdog'),
        start_speed=entry.number('start_speed'),
        max_lag=entry.number('max_lag'),
        temperature=entry.number('temperature'),
        overspeed=entry.number('overspeed'),
        overcurrent_time=entry.number('overcurrent_time'),
        stop_torque=entry.text('stop_torque'),
        fence=tuple(fence.range(axis) for axis in ('x', 'y', 'z')),
    )
    fence.finish()
    entry.finish()
    return limits
