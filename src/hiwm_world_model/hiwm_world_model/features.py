# SPDX-License-Identifier: Apache-2.0
"""How a task's scene variables make bodies, landmarks and network inputs.

Everything is read from the task file. Shapes use `...` for any leading dimensions (ensemble
member, batch, time). A scene (..., S) and its velocity (..., S) have the task's scene variables as
columns; a velocity is per second, in the world.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import torch
from torch import Tensor

from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task

# A wall is felt by a landmark from this distance on, as a share of the workspace's width.
WALL_REACH = 0.06
# A landmark error of this share of the workspace's width counts as 1 in a loss.
ERROR_UNIT = 0.02
# Octaves of the Fourier features of a position; the finest is a quarter of a body's reach long.
OCTAVES = 5
# A position may be drawn and turned if it has so many values; a vector of joints has more.
PLANAR = (2, 3)


@dataclass(frozen=True)
class BodyColumns:
    """One body of the task as columns of a scene.

    Attributes:
        name: As in the task.
        position: Scene columns of its D position variables.
        angle: Scene column of its angle; -1 without one.
        command: Action columns that drive its position variables; empty if nothing drives it.
        points: Landmarks ((P, D) nested), in its own frame.
        low: Smallest normal value of each position variable.
        high: Largest.
        reach: Distance of its farthest landmark; a tenth of the workspace without extent.
    """

    name: str
    position: tuple[int, ...]
    angle: int
    command: tuple[int, ...]
    points: tuple[tuple[float, ...], ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    reach: float

    @property
    def planar(self) -> bool:
        """Whether its position is a place (2 or 3 coordinates) and not a vector of joints."""
        return len(self.position) in PLANAR

    @property
    def width(self) -> float:
        """Mean extent of its position variables' ranges, their unit."""
        return sum(self.high) / len(self.high) - sum(self.low) / len(self.low)


def read_bodies(task: Task) -> tuple[BodyColumns, ...]:
    """The task's bodies as columns, in its order.

    Raises:
        ConfigurationError: A body cannot be imagined; the sentence says why.
    """
    drives: dict[str, tuple[str, ...]] = {entry.body: entry.joints for entry in task.actuated}
    bodies = []
    for body in task.bodies:
        columns = tuple(task.scene_index(name) for name in body.position)
        joints = drives.get(body.name, ())
        commanded = bool(joints) and set(joints) <= set(task.action_names)
        if not commanded and (some := [name for name in joints if name in task.action_names]):
            measured = next(name for name in joints if name not in task.action_names)
            raise ConfigurationError(
                f"task '{task.name}': the body '{body.name}' is moved by the action '{some[0]}' "
                f"and by the joint '{measured}', which is not an action; the world model needs a "
                'body of its own for each'
            )
        if body.angle and len(set(body.points)) < 2:
            raise ConfigurationError(
                f"task '{task.name}': the body '{body.name}' has an angle, which the world model "
                'reads from landmarks; give it at least two `points`'
            )
        low = tuple(task.scene[column].low for column in columns)
        high = tuple(task.scene[column].high for column in columns)
        extent = max((math.hypot(*point) for point in body.points), default=0.0)
        width = sum(high) / len(high) - sum(low) / len(low)
        bodies.append(
            BodyColumns(
                name=body.name,
                position=columns,
                angle=task.scene_index(body.angle) if body.angle else -1,
                command=tuple(task.action_names.index(name) for name in joints)
                if commanded
                else (),
                points=body.points or ((0.0,) * len(columns),),
                low=low,
                high=high,
                reach=extent if extent > 0 else 0.1 * width,
            )
        )
    return tuple(bodies)


def turn(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Vectors (..., D), D >= 2, turned by an angle (...) in the plane of their first two axes."""
    x_axis = torch.stack([cosine, sine], dim=-1)
    y_axis = torch.stack([-sine, cosine], dim=-1)
    turned = vectors[..., :1] * x_axis + vectors[..., 1:2] * y_axis
    return turned if vectors.shape[-1] == 2 else torch.cat([turned, vectors[..., 2:]], dim=-1)


def wrap(task: Task, scene: Tensor) -> Tensor:
    """A scene (..., S) with its wrapping variables (angles) brought into [-pi, pi]."""
    wraps = torch.tensor([variable.wraps for variable in task.scene], device=scene.device)
    turns = torch.round(scene / math.tau) * math.tau
    return torch.where(wraps, scene - turns, scene)


def subtract(task: Task, after: Tensor, before: Tensor) -> Tensor:
    """The change (..., S) between two scenes, the short way round for wrapping variables."""
    return wrap(task, after - before)


class SceneGeometry:
    """Landmarks and network inputs of a task's bodies.

    Args:
        task: Whose scene variables the columns are.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.bodies = read_bodies(task)
        self.scene_size = len(task.scene)
        self.action_size = len(task.actions)
        self.width = max(body.width for body in self.bodies)
        self._points = {body.name: torch.tensor(body.points) for body in self.bodies}

    def points(self, body: BodyColumns, like: Tensor) -> Tensor:
        """A body's landmarks (P, D) in its own frame, on the device of `like`."""
        return self._points[body.name].to(like.device)

    def landmarks(self, body: BodyColumns, scene: Tensor) -> Tensor:
        """A body's landmarks (..., P, D) in the world."""
        position = scene[..., body.position].unsqueeze(-2)
        points = self.points(body, scene)
        if body.angle < 0:
            return position + points
        angle = scene[..., body.angle].unsqueeze(-1)
        return position + turn(points, angle.cos(), angle.sin())

    def errors(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Distances (..., L) of all bodies' landmarks, each in units of ERROR_UNIT of its width."""
        distances = []
        for body in self.bodies:
            offset = self.landmarks(body, predicted) - self.landmarks(body, true)
            square = offset.square().sum(-1) + 1e-12
            distances.append(square.sqrt() / (ERROR_UNIT * body.width))
        return torch.cat(distances, dim=-1)

    def normalized_landmarks(self, scene: Tensor) -> Tensor:
        """All landmarks and the turns of all angles (..., F), each about -1 to 1, for the heads."""
        values = []
        for body in self.bodies:
            low = torch.tensor(body.low, device=scene.device)
            high = torch.tensor(body.high, device=scene.device)
            unit = (self.landmarks(body, scene) - low) / (high - low) * 2 - 1
            values.append(unit.flatten(-2))
            if body.angle >= 0:
                angle = scene[..., body.angle, None]
                values += [angle.cos(), angle.sin()]
        return torch.cat(values, dim=-1)

    # -- what moves a body -----------------------------------------------------------------------

    def others(self, body: BodyColumns) -> tuple[BodyColumns, ...]:
        """The bodies that may move `body` by touching it."""
        return tuple(other for other in self.bodies if other.name != body.name)

    def sizes(self, body: BodyColumns) -> tuple[int, int]:
        """Columns of both results of `inputs`."""
        probe = torch.zeros(1, self.scene_size)
        inputs, push = self.inputs(body, probe, probe)
        return int(inputs.shape[-1]), int(push.shape[-1])

    def inputs(self, body: BodyColumns, scene: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
        """All that decides how `body` moves (..., F), in its frame, and what pushes it (..., V).

        Away from the walls the values stay the same when the whole scene is moved or turned. What
        pushes is the other bodies' velocities; 1 is a width per second.
        """
        comparable = [other for other in self.others(body) if alike(body, other)]
        vectors = [velocity[..., body.position] / body.width]
        for other in comparable:
            offset = scene[..., other.position] - scene[..., body.position]
            vectors += [offset / body.reach, velocity[..., other.position] / other.width]
        framed = torch.stack(vectors, dim=-2)
        turns = body.angle >= 0
        if turns:
            angle = scene[..., body.angle, None]
            framed = turn(framed, angle.cos(), -angle.sin())
        push = [framed[..., 2::2, :].flatten(-2)]
        values = [framed[..., 0, :], *self._walls(body, scene)]
        if turns:
            values.append(velocity[..., body.angle, None] * (body.reach / body.width))
        if comparable:
            values += self._nearness(body, framed[..., 1::2, :])
        for other in self.others(body):
            if other not in comparable:
                low = torch.tensor(other.low, device=scene.device)
                values.append((scene[..., other.position] - low) / other.width)
                push.append(velocity[..., other.position] / other.width)
            if other.angle >= 0:
                apart = scene[..., other.angle, None] - (angle if turns else 0.0)
                values += [apart.cos(), apart.sin()]
        return torch.cat([*values, *push], dim=-1), torch.cat(push, dim=-1)

    def _nearness(self, body: BodyColumns, offsets: Tensor) -> list[Tensor]:
        """Offsets (..., K, D) of other bodies, in a form in which a small gap can be told."""
        octaves = 2.0 ** torch.arange(-1.0, OCTAVES - 1.0, device=offsets.device)
        phases = (offsets.unsqueeze(-1) * (math.pi * octaves)).flatten(-3)
        points = self.points(body, offsets) / body.reach
        gaps = (offsets.unsqueeze(-2) - points).square().sum(-1)
        return [
            offsets.clamp(-4.0, 4.0).flatten(-2),
            phases.sin(),
            phases.cos(),
            (gaps + 1e-6).sqrt().clamp(max=4.0).flatten(-2),
        ]

    def _walls(self, body: BodyColumns, scene: Tensor) -> list[Tensor]:
        """For each end of each range: how near each landmark is, and the wall's normal if any is.

        All are zero away from the walls.
        """
        if not body.planar:
            return []
        low = torch.tensor(body.low, device=scene.device)
        high = torch.tensor(body.high, device=scene.device)
        landmarks = self.landmarks(body, scene)
        gaps = torch.cat([landmarks - low, high - landmarks], dim=-1)
        reach = WALL_REACH * torch.cat([high - low, high - low])
        near = (1.0 - gaps / reach).clamp(0.0, 2.0)
        if body.angle < 0:
            return [near.flatten(-2)]
        axes = torch.eye(len(body.position), device=scene.device)
        normals = near.amax(-2).unsqueeze(-1) * torch.cat([axes, -axes])
        angle = scene[..., body.angle, None]
        normals = turn(normals, angle.cos(), -angle.sin())
        return [near.flatten(-2), normals.flatten(-2)]


def alike(body: BodyColumns, other: BodyColumns) -> bool:
    """Whether the places of two bodies can be compared."""
    return body.planar and other.planar and len(body.position) == len(other.position)
