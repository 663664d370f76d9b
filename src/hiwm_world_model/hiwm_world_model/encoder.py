# SPDX-License-Identifier: Apache-2.0
"""The scene in a camera picture: landmarks as heat maps, and the rigid pose that fits them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiwm_core.task import Task
from hiwm_world_model.features import BodyColumns, SceneGeometry

CHANNELS = 48
DILATIONS = (1, 2, 3, 1)


class SceneEncoder(nn.Module):
    """Pictures (B, 3, H, W), 0 to 1 -> scenes (B, S).

    Args:
        task: Whose scene; its camera looks straight down on the plane of the first two coordinates.
    """

    cells: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.geometry = SceneGeometry(task)
        self.seen = tuple(body for body in self.geometry.bodies if body.planar)
        self.stem = nn.ModuleList(
            [
                nn.Conv2d(3, 24, 5, stride=2, padding=2),
                nn.Conv2d(24, CHANNELS, 3, stride=2, padding=1),
            ]
        )
        self.blocks = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.maps = nn.Conv2d(CHANNELS, sum(len(body.points) for body in self.seen), 1)
        # What has no place in the picture (joints, heights, openings) is regressed, in its range.
        self.rest = nn.Linear(CHANNELS, self.geometry.scene_size)
        shape = [-(-size // 4) for size in (task.camera.height, task.camera.width)]
        y, x = torch.meshgrid(*((torch.arange(size) + 0.5) for size in shape), indexing='ij')
        cells = torch.stack([x.flatten(), y.flatten()], dim=-1) * (4 * task.camera.metres_per_pixel)
        self.register_buffer('cells', cells, persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        # Convolutions on CPUs are fastest with the channels innermost.
        hidden = (picture * 2 - 1).contiguous(memory_format=torch.channels_last)
        for layer in self.stem:
            hidden = functional.relu(layer(hidden))
        for block in self.blocks:
            hidden = hidden + functional.relu(block(hidden))
        low = torch.tensor([variable.low for variable in self.task.scene], device=picture.device)
        high = torch.tensor([variable.high for variable in self.task.scene], device=picture.device)
        rest = self.rest(hidden.mean((2, 3))).float()
        columns = list(((low + high) / 2 + rest * (high - low)).unbind(-1))
        weights = torch.softmax(self.maps(hidden).float().flatten(2), dim=-1)
        places = weights @ self.cells
        first = 0
        for body in self.seen:
            found = places[:, first : first + len(body.points)]
            first += len(body.points)
            for column, value in self._pose(body, found):
                columns[column] = value
        return torch.stack(columns, dim=-1)

    def _pose(self, body: BodyColumns, found: Tensor) -> list[tuple[int, Tensor]]:
        """Scene columns and values (B,) of the pose that brings the landmarks nearest to `found`.

        The least-squares rigid fit in the plane (Umeyama 1991, without scale).
        """
        points = self.geometry.points(body, found)[:, :2]
        centre, mean = points.mean(0), found.mean(1)
        if body.angle < 0:
            place = mean - centre
            return [(body.position[axis], place[:, axis]) for axis in range(2)]
        arms, reached = points - centre, found - mean[:, None]
        cosine = (arms * reached).sum((1, 2))
        sine = (arms[:, 0] * reached[..., 1] - arms[:, 1] * reached[..., 0]).sum(1)
        angle = torch.atan2(sine, cosine)
        turned_x = angle.cos() * centre[0] - angle.sin() * centre[1]
        turned_y = angle.sin() * centre[0] + angle.cos() * centre[1]
        return [
            (body.position[0], mean[:, 0] - turned_x),
            (body.position[1], mean[:, 1] - turned_y),
            (body.angle, angle),
        ]
