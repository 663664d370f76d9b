# SPDX-License-Identifier: Apache-2.0
"""The world model as one bundle of networks: `encode`, `step`, `decode` and `heads`, all batched.

The latent state is the scene itself and its velocity, several times over: the shown scene, moved
by a random blend of the ensemble, and one particle for each member, moved by that member alone.
Where the particles part ways the model does not know what happens, and its fidelity falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hiwm_core.task import Task
from hiwm_world_model.decoder import LayerDecoder, quantize, unquantize
from hiwm_world_model.dynamics import Dynamics
from hiwm_world_model.encoder import SceneEncoder
from hiwm_world_model.features import SceneGeometry
from hiwm_world_model.heads import Heads

# Beta of the blend's Dirichlet weights: 1 would be uniform on the simplex, more is nearer the mean.
BLEND_CONCENTRATION = 3.0
# Pixels added before the logarithm of a distance, so that none is infinitely good.
DISTANCE_FLOOR = 0.05


@dataclass(frozen=True)
class Architecture:
    """Sizes of the networks; they are in the card and must be known to load weights.

    Attributes:
        members: Ensemble size E.
        width: Units of the dynamics' hidden layers.
        blocks: The dynamics' hidden residual layers.
        substeps: Integration steps per period.
        heads_width: Units of the heads' hidden layers.
        actuation_noise: Standard deviation of the factor on a servo's acceleration.
    """

    members: int = 4
    width: int = 128
    blocks: int = 2
    substeps: int = 5
    heads_width: int = 128
    actuation_noise: float = 0.02

    def as_dict(self) -> dict[str, int | float]:
        """For the card."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Latent:
    """B states: float32 (B, 1 + E, S) each; index 0 is the shown scene, then a particle per member.

    `velocity` is per second.
    """

    scene: Tensor
    velocity: Tensor

    @property
    def shown(self) -> Tensor:
        """The scenes (B, S) that a frame shows."""
        return self.scene[:, 0]

    def pack(self) -> Tensor:
        """One row (B, 2 * (1 + E) * S) each."""
        return torch.cat([self.scene.flatten(1), self.velocity.flatten(1)], dim=1)


class WorldModel(nn.Module):
    """All networks of a task's world model.

    Args:
        task: What is imagined.
        architecture: The networks' sizes.
    """

    calibration: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, task: Task, architecture: Architecture) -> None:
        super().__init__()
        self.task = task
        self.architecture = architecture
        self.geometry = SceneGeometry(task)
        self.dynamics = Dynamics(
            task,
            architecture.members,
            architecture.width,
            architecture.blocks,
            architecture.substeps,
        )
        self.decoder = LayerDecoder(task)
        self.encoder = SceneEncoder(task)
        self.head_network = Heads(task, architecture.heads_width)
        # Logit of "not wrong": 1, minus log of the particles' spread, minus log of the
        # disagreement of decoder and encoder, both in pixels. Fitted after training.
        self.register_buffer('calibration', torch.tensor([2.0, 1.0, 0.0]))
        self._layers: dict[str, Tensor] | None = None
        low = [-np.inf if variable.wraps else variable.low for variable in task.scene]
        high = [np.inf if variable.wraps else variable.high for variable in task.scene]
        self.register_buffer('low', torch.tensor(low, dtype=torch.float32), persistent=False)
        self.register_buffer('high', torch.tensor(high, dtype=torch.float32), persistent=False)

    @property
    def latent_size(self) -> int:
        """Columns of `Latent.pack`."""
        return 2 * (1 + self.architecture.members) * self.geometry.scene_size

    def freeze(self) -> WorldModel:
        """Ready for inference: no gradients, and the decoder's layers computed once."""
        self.eval().requires_grad_(False)
        with torch.inference_mode():
            self._layers = self.decoder.layers()
        return self

    # -- the functional interface ----------------------------------------------------------------

    def encode(self, frames: Tensor) -> Tensor:
        """The scenes (B, S) in camera frames uint8 (B, H, W, 3)."""
        return self.encoder(unquantize(frames))

    def start(self, scene: Tensor, velocity: Tensor | None = None) -> Latent:
        """States in which all particles agree on scenes (B, S); at rest without a velocity."""
        copies = scene.unsqueeze(1).repeat(1, 1 + self.architecture.members, 1)
        if velocity is None:
            return Latent(copies, torch.zeros_like(copies))
        return Latent(copies, velocity.unsqueeze(1).repeat(1, 1 + self.architecture.members, 1))

    def unpack(self, rows: Tensor) -> Latent:
        """States from rows (B, latent_size) of `Latent.pack`."""
        shape = (rows.shape[0], 1 + self.architecture.members, self.geometry.scene_size)
        half = self.latent_size // 2
        return Latent(rows[:, :half].reshape(shape), rows[:, half:].reshape(shape))

    def step(self, latent: Latent, actions: Tensor, keys: Sequence[int]) -> Latent:
        """The states one period later.

        Args:
            latent: B states.
            actions: float32 (B, A), commanded all the while.
            keys: B times 64 bits, from which the ensemble's blend and the noise are drawn.
        """
        count, members = actions.shape[0], self.architecture.members
        blends, gains = [], []
        for key in keys:
            generator = np.random.Generator(np.random.Philox(key=key & (2**64 - 1)))
            blends.append(generator.dirichlet([BLEND_CONCENTRATION] * members))
            gains.append(1.0 + self.architecture.actuation_noise * generator.standard_normal())
        device = actions.device
        blend = torch.tensor(np.array(blends), dtype=torch.float32, device=device).T.contiguous()
        gain = torch.tensor(gains, dtype=torch.float32, device=device).reshape(1, count, 1)
        columns = [
            torch.cat([values[:, 0].expand(members, -1, -1), values[:, 1:].transpose(0, 1)], dim=1)
            for values in (latent.scene, latent.velocity)
        ]
        scene, velocity = self.dynamics(*columns, actions.repeat(2, 1), blend, gain.repeat(1, 2, 1))
        # A body does not leave the workspace, however wrong a prediction is.
        scene = torch.minimum(torch.maximum(scene, self.low), self.high)
        return Latent(
            *(
                torch.cat([values[:1, :count], values[:, count:]]).transpose(0, 1).contiguous()
                for values in (scene, velocity)
            )
        )

    def decode(self, scene: Tensor) -> Tensor:
        """Frames uint8 (B, H, W, 3) of scenes (B, S)."""
        layers = self._layers if self._layers is not None else self.decoder.layers()
        return quantize(self.decoder.draw(scene, layers))

    def heads(self, scene: Tensor) -> tuple[Tensor, Tensor]:
        """Progress (B,) and probability of success (B,) of scenes (B, S)."""
        progress, success = self.head_network(scene)
        return progress, torch.sigmoid(success)

    # -- how far it can be trusted ---------------------------------------------------------------

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Largest mean distance (...) of a body's landmarks between scenes (..., S), pixels."""
        distances = []
        for body in self.geometry.bodies:
            if body.planar:
                offset = self.geometry.landmarks(body, first) - self.geometry.landmarks(
                    body, second
                )
                distances.append(offset.square().sum(-1).sqrt().mean(-1))
        if not distances:
            return torch.zeros(first.shape[:-1], device=first.device)
        return torch.stack(distances).amax(0) / self.task.camera.metres_per_pixel

    def evidence(self, latent: Latent, frames: Tensor) -> Tensor:
        """What fidelity is judged by (B, 3): 1, minus log spread, minus log disagreement."""
        spread = self.distance(latent.scene[:, 1:], latent.scene[:, :1]).mean(1)
        disagreement = self.distance(self.encode(frames), latent.shown)
        logs = [-torch.log(value + DISTANCE_FLOOR) for value in (spread, disagreement)]
        return torch.stack([torch.ones_like(spread), *logs], dim=1)

    def fidelity(self, latent: Latent, frames: Tensor) -> Tensor:
        """Probability (B,) that no body is shown far from its place, for decoded frames."""
        return torch.sigmoid(self.evidence(latent, frames) @ self.calibration)
