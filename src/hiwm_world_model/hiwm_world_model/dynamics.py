# SPDX-License-Identifier: Apache-2.0
"""The scene's motion: an ensemble of networks that say how each body is pushed, in its own frame.

One step of the task is integrated in a few substeps, so that a network only has to know what a
small motion does at a place, and a push is the sum of many. A commanded body follows its command
as a servo of second order, whose stiffness and damping are learned; every other motion comes from
a network: a gate (is it touched at all; exactly zero where it is not) times a part that is linear
in the velocities of what pushes, plus the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiwm_core.task import Task
from hiwm_world_model.features import BodyColumns, SceneGeometry, subtract, turn, wrap


class EnsembleLinear(nn.Module):
    """One linear layer per ensemble member: (E, N, inputs) -> (E, N, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        spread = gain * math.sqrt(2.0 / inputs)
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) * spread)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, values: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, values, self.weight)


class PushNetwork(nn.Module):
    """What moves one body: inputs (E, N, F) and push velocities (E, N, V) -> motion (E, N, M)."""

    def __init__(
        self, members: int, inputs: int, pushes: int, motions: int, *, width: int, blocks: int
    ) -> None:
        super().__init__()
        self.pushes, self.motions = pushes, motions
        self.first = EnsembleLinear(members, inputs, width)
        self.blocks = nn.ModuleList(EnsembleLinear(members, width, width) for _ in range(blocks))
        self.last = EnsembleLinear(members, width, 1 + motions * (pushes + 1), gain=0.1)

    def forward(self, inputs: Tensor, push: Tensor) -> Tensor:
        hidden = functional.relu(self.first(inputs))
        for block in self.blocks:
            hidden = hidden + functional.relu(block(hidden))
        result = self.last(hidden).float()
        gate, rest = result[..., :1], result[..., 1 : 1 + self.motions]
        matrix = result[..., 1 + self.motions :].unflatten(-1, (self.motions, self.pushes))
        motion = (matrix @ push.unsqueeze(-1)).squeeze(-1) + 0.1 * rest
        soft = torch.sigmoid(gate + 0.5)
        # Exactly 0 where nothing touches, with the sigmoid's gradient so that it can open again.
        hard = (0.5 + 0.25 * (gate + 0.5)).clamp(0.0, 1.0)
        return motion * (hard.detach() + soft - soft.detach())


class Dynamics(nn.Module):
    """One step of a scene, by every member of the ensemble.

    Args:
        task: Whose bodies move.
        members: Size of the ensemble E.
        width: Units of a hidden layer.
        blocks: Hidden residual layers.
        substeps: Integration steps per period.
    """

    def __init__(self, task: Task, members: int, width: int, blocks: int, substeps: int) -> None:
        super().__init__()
        self.task = task
        self.members = members
        self.substeps = substeps
        self.geometry = SceneGeometry(task)
        driven = [body for body in self.geometry.bodies if body.command]
        self.driven_columns = [column for body in driven for column in body.position]
        self.command_columns = [column for body in driven for column in body.command]
        count = len(self.driven_columns)
        # Log of the servo's stiffness (1/s2) and damping (1/s); a start of about half a period.
        rate = 0.7 * task.rate
        self.log_stiffness = nn.Parameter(torch.full((count,), 2 * math.log(rate)))
        self.log_damping = nn.Parameter(torch.full((count,), math.log(2 * rate)))
        self.networks = nn.ModuleDict()
        for body in self.geometry.bodies:
            motions = self._motions(body)
            if motions:
                self.networks[body.name] = PushNetwork(
                    members,
                    *self.geometry.sizes(body),
                    motions,
                    width=width,
                    blocks=blocks,
                )

    @staticmethod
    def _motions(body: BodyColumns) -> int:
        """How many values of a body's motion a network gives."""
        return (0 if body.command else len(body.position)) + (1 if body.angle >= 0 else 0)

    def forward(
        self,
        scene: Tensor,
        velocity: Tensor,
        action: Tensor,
        mix: Tensor | None = None,
        gain: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One period.

        Args:
            scene: float32 (E, N, S); slice e is moved by member e.
            velocity: float32 (E, N, S), per second.
            action: float32 (N, A) or (E, N, A), the commanded values.
            mix: float32 (E, M): the first M of the N columns hold the same scene for every member
            and
                are moved by this weighted mean of the members.
            gain: float32 (E, N, 1): a factor on each servo's acceleration, 1 if None.

        Returns:
            The scene and the velocity one period later, angles wrapped.
        """
        period = 1.0 / (self.task.rate * self.substeps)
        stiffness, damping = self.log_stiffness.exp(), self.log_damping.exp()
        command = action[..., self.command_columns]
        for _ in range(self.substeps):
            change = torch.zeros_like(scene)
            for body in self.geometry.bodies:
                if body.name in self.networks:
                    self._push(body, scene, velocity, change, mix)
            if self.driven_columns:
                place, speed = scene[..., self.driven_columns], velocity[..., self.driven_columns]
                pull = stiffness * (command - place) - damping * speed
                change[..., self.driven_columns] = (
                    speed + (pull if gain is None else gain * pull) * period
                )
            velocity = change
            scene = scene + change * period
        return wrap(self.task, scene), velocity

    def _push(
        self, body: BodyColumns, scene: Tensor, velocity: Tensor, change: Tensor, mix: Tensor | None
    ) -> None:
        """Write a body's velocity into `change` (E, N, S)."""
        motion = self.networks[body.name](*self.geometry.inputs(body, scene, velocity))
        if mix is not None:
            count = mix.shape[1]
            mean = (motion[:, :count] * mix.unsqueeze(-1)).sum(0, keepdim=True)
            motion = torch.cat([mean.expand_as(motion[:, :count]), motion[:, count:]], dim=1)
        if not body.command:
            moved = motion[..., : len(body.position)] * body.width
            if body.angle >= 0:
                angle = scene[..., body.angle]
                moved = turn(moved, angle.cos(), angle.sin())
            change[..., body.position] = moved
        if body.angle >= 0:
            change[..., body.angle] = motion[..., -1] * (body.width / body.reach)

    def servo_response(self) -> Tensor:
        """How a servo's place and speed after a period follow from before: (driven, 2, 3).

        Rows: place, speed. Columns: place, speed, command before.
        """
        period = 1.0 / (self.task.rate * self.substeps)
        stiffness, damping = self.log_stiffness.exp(), self.log_damping.exp()
        start = torch.eye(3, device=stiffness.device).expand(len(stiffness), 3, 3)
        place, speed, command = start[:, 0], start[:, 1], start[:, 2]
        for _ in range(self.substeps):
            speed = (
                speed + (stiffness[:, None] * (command - place) - damping[:, None] * speed) * period
            )
            place = place + speed * period
        return torch.stack([place, speed], dim=1)

    def estimate_velocity(self, before: Tensor, after: Tensor, action: Tensor) -> Tensor:
        """The velocity (..., S) at `after`, one period and one action (..., A) after `before`.

        A servo's is exact (its response solved for the unknown speed); other bodies' is the mean
        over the period.
        """
        velocity = subtract(self.task, after, before) * self.task.rate
        if not self.driven_columns:
            return velocity
        response = self.servo_response()
        start, end = before[..., self.driven_columns], after[..., self.driven_columns]
        command = action[..., self.command_columns]
        place, speed = response[:, 0], response[:, 1]
        initial = (end - place[:, 0] * start - place[:, 2] * command) / place[:, 1]
        final = speed[:, 0] * start + speed[:, 1] * initial + speed[:, 2] * command
        velocity = velocity.clone()
        velocity[..., self.driven_columns] = final
        return velocity
