# SPDX-License-Identifier: Apache-2.0
"""The camera's picture of a scene: a learned background, and a learned texture for each body.

A texture lies in its body's own frame, four texels to a pixel, so an edge stays as sharp after a
thousand steps as in the first frame, whatever the pose. The picture is differentiable in the pose.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiwm_core.task import Task
from hiwm_world_model.features import BodyColumns, SceneGeometry, turn

TEXELS_PER_PIXEL = 4
# A texture reaches this many pixels beyond its body's farthest landmark.
MARGIN_PIXELS = 6


class LayerDecoder(nn.Module):
    """Scenes (B, S) -> pictures (B, 3, H, W), 0 to 1, RGB.

    Bodies are drawn in the task's order, commanded bodies last. The camera looks at the plane of
    the first two coordinates from straight above; a body whose position is no place is not drawn.

    Args:
        task: Whose bodies and camera.
    """

    pixels: Tensor

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        geometry = SceneGeometry(task)
        drawn = [body for body in geometry.bodies if body.planar]
        self.bodies = sorted(drawn, key=lambda body: bool(body.command))
        camera = task.camera
        self.background = nn.Parameter(torch.zeros(3, camera.height, camera.width))
        self.textures = nn.ParameterDict()
        for body in self.bodies:
            size = round(2 * self.radius(body) / camera.metres_per_pixel * TEXELS_PER_PIXEL)
            self.textures[body.name] = nn.Parameter(torch.zeros(4, size, size))
        columns = (torch.arange(camera.width) + 0.5) * camera.metres_per_pixel
        rows = (torch.arange(camera.height) + 0.5) * camera.metres_per_pixel
        y, x = torch.meshgrid(rows, columns, indexing='ij')
        self.register_buffer('pixels', torch.stack([x, y], dim=-1), persistent=False)

    def radius(self, body: BodyColumns) -> float:
        """Half the side of a body's texture, metres."""
        reach = max(math.hypot(*point[:2]) for point in body.points)
        return reach + MARGIN_PIXELS * self.task.camera.metres_per_pixel

    def forward(self, scene: Tensor) -> Tensor:
        return self.draw(scene, self.layers())

    def layers(self) -> dict[str, Tensor]:
        """Background (3, H, W) and textures (4, T, T): colour times cover, and cover, 0 to 1."""
        result = {'': torch.sigmoid(self.background)}
        for name, texture in self.textures.items():
            cover = torch.sigmoid(texture[3:])
            result[name] = torch.cat([torch.sigmoid(texture[:3]) * cover, cover])
        return result

    def draw(self, scene: Tensor, layers: dict[str, Tensor]) -> Tensor:
        """Pictures (B, 3, H, W) of scenes (B, S) with layers from `layers()`."""
        count = scene.shape[0]
        picture = layers[''].expand(count, -1, -1, -1)
        for body in self.bodies:
            offset = self.pixels - scene[:, body.position[:2]][:, None, None, :]
            if body.angle >= 0:
                angle = scene[:, body.angle, None, None]
                offset = turn(offset, angle.cos(), -angle.sin())
            sampled = functional.grid_sample(
                layers[body.name].expand(count, -1, -1, -1),
                offset / self.radius(body),
                mode='bilinear',
                padding_mode='zeros',
                align_corners=False,
            )
            picture = picture * (1.0 - sampled[:, 3:]) + sampled[:, :3]
        return picture


def quantize(picture: Tensor) -> Tensor:
    """Pictures (B, 3, H, W), 0 to 1, as frames uint8 (B, H, W, 3)."""
    return (picture * 255.0).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def unquantize(frames: Tensor) -> Tensor:
    """Frames uint8 (B, H, W, 3) as pictures (B, 3, H, W), 0 to 1."""
    return frames.permute(0, 3, 1, 2).float() / 255.0
