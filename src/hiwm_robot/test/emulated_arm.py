# SPDX-License-Identifier: Apache-2.0
"""An arm on an emulated bus in made-up time, as the tests drive it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hiwm_core.task import Task, load_task, parse_task
from hiwm_robot.dynamixel.arm import Arm
from hiwm_robot.dynamixel.arm_config import ArmConfig, read_arm
from hiwm_robot.dynamixel.bus import ServoBus
from hiwm_robot.dynamixel.command_space import CommandSpace, command_space
from hiwm_robot.dynamixel.emulator.program import emulated_bus
from hiwm_robot.dynamixel.emulator.virtual_port import VirtualPort

CONFIG = Path(__file__).parents[1] / 'config' / 'reference_arm.yaml'
PERIOD = 0.1
# On the plane, above its middle.
READY = [0.0, -1.0036, 1.9831, 0.5913, 0.0, 0.0]


def reference() -> dict[str, Any]:
    """The reference arm's file as data, to be changed."""
    data: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    data['urdf'] = str(CONFIG.with_name(data['urdf']))
    return data


def write_arm(folder: Path, data: dict[str, Any]) -> Path:
    """An arm's file."""
    path = folder / 'arm.yaml'
    path.write_text(yaml.safe_dump(data))
    return path


def small_arm(folder: Path) -> ArmConfig:
    """The first three joints alone, which makes a turn of the loop cheap."""
    data = reference()
    data['joints'] = data['joints'][:3]
    del data['gripper'], data['plane']
    data['safety']['fence'] = {'x': [-1.0, 1.0], 'y': [-1.0, 1.0], 'z': [-0.2, 1.2]}
    return read_arm(write_arm(folder, data))


def joint_task(names: tuple[str, ...]) -> Task:
    """A task that commands joints by name, in rad."""
    base = yaml.safe_load(
        (Path(__file__).parents[2] / 'hiwm_core/hiwm_core/tasks/pusht/task.yaml').read_text()
    )
    base['task'] = 'joints'
    base['actions'] = [
        {'name': name, 'unit': 'rad', 'low': -3.0, 'high': 3.0, 'max_step': 0.3} for name in names
    ]
    base['joints'] = [{'name': name, 'unit': 'rad'} for name in names]
    base['scene'] = [
        {'name': f'{name}_angle', 'unit': 'rad', 'range': [-3.0, 3.0]} for name in names
    ]
    base['bodies'] = [
        {'name': name, 'position': [f'{name}_angle'], 'points': [[0.0]]} for name in names
    ]
    base['actuated'] = [{'joints': [name], 'body': name} for name in names]
    base['success'] = {'progress': 'done', 'above': 0.5}
    base['reset'] = {f'{name}_angle': [0.0, 0.0] for name in names}
    base['console'] = {'keys': {}}
    return parse_task(yaml.safe_dump(base), 'joints')


class EmulatedArm:
    """An arm, its bus and its time.

    Args:
        config: The arm.
        task: What is commanded.
        angles: rad, of every joint at the beginning.
        seed: Of the bus's faults.
        dry_run: Everything but torque.
    """

    def __init__(
        self,
        config: ArmConfig,
        task: Task,
        angles: list[float],
        *,
        seed: int = 0,
        dry_run: bool = False,
    ) -> None:
        self.config = config
        self.bus = emulated_bus(config, seed, angles)
        self.port = VirtualPort(self.bus)
        self.space: CommandSpace = command_space(task, config)
        self.arm = Arm(
            config,
            ServoBus(self.port, dict(zip(config.servos, config.names, strict=True))),
            self.space,
            period=PERIOD,
            dry_run=dry_run,
            clock=self.port.clock,
            sleep=self.port.sleep,
        )
        self._next = 0.0

    def start(self) -> EmulatedArm:
        """Connected, with torque."""
        self.arm.connect()
        self.arm.enable()
        self._next = self.port.now
        return self

    def turn(self) -> None:
        """One turn of the control loop at its rate."""
        self._next = max(self._next + 1.0 / self.config.rate, self.port.now)
        self.port.sleep(self._next - self.port.now)
        self.arm.tick()

    def turns(self, count: int, each: Callable[[], None] = lambda: None) -> None:
        """So many turns, with something done before each."""
        for _ in range(count):
            each()
            self.turn()

    def drive(self, values: list[float], seconds: float) -> None:
        """Command the same values every period, for so long."""
        for _ in range(round(seconds / PERIOD)):
            self.arm.command(np.array(values))
            self.turns(round(PERIOD * self.config.rate))

    @property
    def angles(self) -> np.ndarray:
        """rad, where the joints really are."""
        return np.array(
            [
                joint.direction * (self.bus.servos[joint.servo].position - joint.offset)
                for joint in self.config.joints
            ]
        )

    @property
    def torque(self) -> list[bool]:
        """Of every servo."""
        return [servo.torque for servo in self.bus.servos.values()]


def planar_arm(**options: Any) -> EmulatedArm:
    """The reference arm on its plane, above the middle."""
    return EmulatedArm(read_arm(CONFIG), load_task('pusht'), READY, **options)
