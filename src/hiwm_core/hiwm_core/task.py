# SPDX-License-Identifier: Apache-2.0
"""Task definitions: one YAML per task, which every part of the workspace reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
import math
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
import yaml

from hiwm_core.entry import Entry
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task_parts import (
    ActionVariable,
    Actuation,
    Body,
    Camera,
    JointVariable,
    SceneVariable,
)

FloatArray = NDArray[np.float64]
# What the console must never lose to a driving key, which it asks first.
RESERVED_KEYS = {'x': 'stops everything', 't': 'takes over', ' ': 'pauses'}


@dataclass(frozen=True)
class Task:
    """A task as its file gives it; see `tasks/pusht/task.yaml` for every field with its unit."""

    name: str
    description: str
    simulator: str
    rate: float
    episode_steps: int
    camera: Camera
    actions: tuple[ActionVariable, ...]
    joints: tuple[JointVariable, ...]
    scene: tuple[SceneVariable, ...]
    bodies: tuple[Body, ...]
    actuated: tuple[Actuation, ...]
    progress_name: str
    success_above: float
    reset: Mapping[str, tuple[float, float]]
    keys: Mapping[str, Mapping[str, float]]
    target: Mapping[str, float] = field(default_factory=dict)

    @property
    def period(self) -> float:
        """Seconds per step."""
        return 1.0 / self.rate

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.actions)

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.joints)

    @property
    def scene_names(self) -> tuple[str, ...]:
        return tuple(variable.name for variable in self.scene)

    @property
    def action_low(self) -> FloatArray:
        """Shape (A,), each in its action's unit."""
        return np.array([variable.low for variable in self.actions])

    @property
    def action_high(self) -> FloatArray:
        """Shape (A,), each in its action's unit."""
        return np.array([variable.high for variable in self.actions])

    @property
    def action_max_step(self) -> FloatArray:
        """Shape (A,), the largest change per step, each in its action's unit."""
        return np.array([variable.max_step for variable in self.actions])

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Rows, columns, channels of a camera frame."""
        return (self.camera.height, self.camera.width, 3)

    def scene_index(self, name: str) -> int:
        """Column of a scene variable; raises ConfigurationError if there is none of that name."""
        try:
            return self.scene_names.index(name)
        except ValueError:
            raise ConfigurationError(
                f"task '{self.name}' has no scene variable '{name}'; "
                f'it has: {", ".join(self.scene_names)}'
            ) from None

    def hold_action(self, joints: FloatArray, commanded: FloatArray | None = None) -> FloatArray:
        """The action (A,) that keeps a position-controlled arm at the measured joints (J,).

        Args:
            joints: Measured.
            commanded: (A,), what was commanded last; None: not known. What grips is kept there.
        """
        by_name = dict(zip(self.joint_names, joints, strict=True))
        held = np.array([by_name[name] for name in self.action_names])
        if commanded is not None:
            held = np.where([action.grips for action in self.actions], commanded, held)
        return np.clip(held, self.action_low, self.action_high)

    def joints_of_scene(self, scene: FloatArray) -> FloatArray:
        """The joint positions (J,) that a scene (S,) implies, by the task's `actuated` bodies."""
        values: dict[str, float] = {}
        bodies = {body.name: body for body in self.bodies}
        for actuation in self.actuated:
            for joint, variable in zip(
                actuation.joints, bodies[actuation.body].position, strict=True
            ):
                values[joint] = float(scene[self.scene_index(variable)])
        return np.array([values[name] for name in self.joint_names])

    def succeeded(self, progress: float, success: float) -> bool:
        """Whether the task is done in a frame.

        Args:
            progress: The task's measure of success, to which the criterion applies.
            success: Probability that the task is done; asked where the progress is not known (NaN).
        """
        if math.isfinite(progress):
            return progress > self.success_above
        return success > 0.5

    def start_scene(self, seed: int) -> FloatArray:
        """The start (S,) that belongs to a seed: the same on every rig.

        Each variable is uniform on its range of `reset`; the generator is numpy's PCG64.
        """
        if seed < 0:
            raise HiwmError(f'a seed is 0 or larger, not {seed}')
        generator = np.random.default_rng(seed)
        return np.array([generator.uniform(*self.reset[name]) for name in self.scene_names])

    def check_scene(self, scene: FloatArray) -> FloatArray:
        """A caller's scene (S,) as float64; raises HiwmError if it is not one of this task."""
        values = np.asarray(scene, dtype=np.float64)
        if values.shape != (len(self.scene),):
            raise HiwmError(
                f"a scene of task '{self.name}' has {len(self.scene)} values "
                f'({", ".join(self.scene_names)}), not {values.size}'
            )
        for variable, value in zip(self.scene, values, strict=True):
            if not math.isfinite(value) or not (
                variable.wraps or variable.low <= value <= variable.high
            ):
                raise HiwmError(
                    f"scene variable '{variable.name}' is {value:g} {variable.unit}; "
                    f'it must lie between {variable.low:g} and {variable.high:g}'
                )
        return values


def task_names() -> list[str]:
    """The tasks that are installed, sorted."""
    folder = resources.files('hiwm_core.tasks')
    return sorted(entry.name for entry in folder.iterdir() if (entry / 'task.yaml').is_file())


def load_task(name: str) -> Task:
    """Reads and checks one task.

    Raises:
        ConfigurationError: There is no such task, or its file is not right.
    """
    names = task_names()
    if name not in names:
        raise ConfigurationError(f"there is no task '{name}'; the tasks are: {', '.join(names)}")
    source = Path(str(resources.files('hiwm_core.tasks') / name / 'task.yaml'))
    task = parse_task(source.read_text(encoding='utf-8'), str(source))
    if task.name != name:
        raise ConfigurationError(
            f"{source}: the entry 'task' is '{task.name}'; it must be the folder's name, '{name}'"
        )
    return task


def parse_task(text: str, source: str) -> Task:
    """A task from YAML text; `source` names it in errors. Raises ConfigurationError."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f'{source} is not YAML: {error}') from error
    task = _read(Entry(data, source))
    _check(task, source)
    return task


def _read(file: Entry) -> Task:
    success, reset, console = file.entry('success'), file.entry('reset'), file.entry('console')
    keys = console.entry('keys')
    task = Task(
        name=file.text('task'),
        description=file.text('description'),
        simulator=file.text('simulator') if 'simulator' in file else '',
        rate=file.number('rate'),
        episode_steps=file.integer('episode_steps'),
        camera=Camera.read(file.entry('camera')),
        actions=tuple(ActionVariable.read(entry) for entry in file.entries('actions')),
        joints=tuple(JointVariable.read(entry) for entry in file.entries('joints')),
        scene=tuple(SceneVariable.read(entry) for entry in file.entries('scene')),
        bodies=tuple(Body.read(entry) for entry in file.entries('bodies')),
        actuated=tuple(Actuation.read(entry) for entry in file.entries('actuated')),
        progress_name=success.text('progress'),
        success_above=success.number('above'),
        reset={name: reset.range(name) for name in reset.names()},
        keys={key: _moves(keys.entry(key)) for key in keys.names()},
        target=_moves(success.entry('target')) if 'target' in success else {},
    )
    for entry in (file, success, console):
        entry.finish()
    return task


def _moves(entry: Entry) -> dict[str, float]:
    return {name: entry.number(name) for name in entry.names()}


def _check(task: Task, source: str) -> None:
    """What no single entry can tell: numbers that make no sense, and names that do not fit."""

    def refuse(sentence: str) -> NoReturn:
        raise ConfigurationError(f'{source}: {sentence}')

    camera = task.camera
    if not task.rate > 0:
        refuse(f'rate must be larger than 0 Hz, not {task.rate:g}')
    if task.episode_steps < 1:
        refuse(f'episode_steps must be at least 1, not {task.episode_steps}')
    if camera.width < 1 or camera.height < 1:
        refuse('the camera needs a width and a height of at least 1 pixel')
    if min(camera.metres_per_pixel, camera.fx, camera.fy) <= 0:
        refuse("the camera's metres_per_pixel, fx and fy must be larger than 0")
    if not task.actions:
        refuse('a task needs at least one action')
    if not 0 <= task.success_above < 1:
        refuse(f'success.above must be a share from 0 to below 1, not {task.success_above:g}')
    for variable in task.actions:
        if not (variable.low < variable.high and variable.max_step > 0):
            refuse(f"action '{variable.name}' needs low < high and max_step > 0")
    for kind, names in (
        ('action', task.action_names),
        ('joint', task.joint_names),
        ('scene variable', task.scene_names),
        ('body', tuple(body.name for body in task.bodies)),
        ('joint of `actuated`', tuple(name for part in task.actuated for name in part.joints)),
    ):
        for name in names:
            if names.count(name) > 1:
                refuse(f"the {kind} '{name}' occurs twice")
    _check_joints(task, refuse)
    _check_scene_names(task, refuse)
    for key, moves in task.keys.items():
        if meaning := RESERVED_KEYS.get(key.lower()):
            refuse(f"key '{key}' {meaning} and cannot drive; take another one")
        if unknown := [name for name in moves if name not in task.action_names]:
            refuse(f"key '{key}' moves '{unknown[0]}', which is not an action")


def _check_joints(task: Task, refuse: Callable[[str], NoReturn]) -> None:
    units = {joint.name: joint.unit for joint in task.joints}
    for action in task.actions:
        if action.name not in units:
            refuse(f"action '{action.name}' has no joint of the same name to hold")
        if units[action.name] != action.unit:
            refuse(f"action '{action.name}' is in {action.unit}, its joint in {units[action.name]}")
    bodies = {body.name: body for body in task.bodies}
    for actuation in task.actuated:
        if actuation.body not in bodies:
            refuse(f"`actuated` names '{actuation.body}', which is not a body")
        if len(actuation.joints) != len(bodies[actuation.body].position):
            refuse(
                f"body '{actuation.body}' is moved by {len(actuation.joints)} joints but has "
                f'{len(bodies[actuation.body].position)} coordinates'
            )
    moved = [name for actuation in task.actuated for name in actuation.joints]
    for name in sorted(set(moved) ^ set(units)):
        refuse(f"`actuated` and the joints differ in '{name}'; each joint must move one body")


def _check_scene_names(task: Task, refuse: Callable[[str], NoReturn]) -> None:
    scene = {variable.name: variable for variable in task.scene}
    for variable in task.scene:
        if not variable.low < variable.high:
            refuse(f"the range of scene variable '{variable.name}' is empty")
    for body in task.bodies:
        for name in (*body.position, *([body.angle] if body.angle else [])):
            if name not in scene:
                refuse(f"body '{body.name}' names '{name}', which is not a scene variable")
        if any(len(point) != len(body.position) for point in body.points):
            refuse(f"the points of body '{body.name}' need as many values as its position")
    if set(task.reset) != set(scene):
        refuse('`reset` needs a range for every scene variable and nothing else')
    for name in task.target:
        if name not in scene:
            refuse(f"`success.target` names '{name}', which is not a scene variable")
    for name, (low, high) in task.reset.items():
        if not scene[name].wraps and not scene[name].low <= low <= high <= scene[name].high:
            refuse(f"`reset` draws '{name}' from outside its range")
