# SPDX-License-Identifier: Apache-2.0
"""The backbones that are built in: each turns noise to chunks in its own way.

All share the encoder, the frame of reference, the scales, the data, the training and the bundle on
disk; what differs is one network and one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hiwm_core.error import ConfigurationError
from hiwm_policy.action_expert import ActionExpert
from hiwm_policy.denoiser import Denoiser
from hiwm_policy.diffusion import Diffusion
from hiwm_policy.flow import FlowMatching
from hiwm_policy.size import DiffusionSize, FlowSize, Size


class Objective(Protocol):
    """What a network learns, and how a chunk is drawn with it."""

    def loss(
        self,
        denoiser: Any,
        features: Tensor,
        chunks: Tensor,
        counted: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """The loss of features (B, F) and chunks (B, Tp, A) in the network's scale.

        Args:
            counted: bool (B, Tp), the steps of a chunk that are learned.
        """
        ...

    def draw(self, chunks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How far (B,) and with what (B, Tp, A) chunks are made noisy, at random."""
        ...

    def errors(
        self, denoiser: Any, condition: Any, chunks: Tensor, drawn: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Squared errors (B, Tp, A) of a prediction, given `denoiser.condition` and `draw`."""
        ...

    def sample(self, denoiser: Any, features: Tensor, noise: Tensor) -> Tensor:
        """Chunks (B, Tp, A) from features (B, F) and standard normal noise (B, Tp, A)."""
        ...


@dataclass(frozen=True)
class Backbone:
    """One way to turn noise to chunks.

    Attributes:
        size: The class of its sizes.
        objective: Makes what it learns.
        network: Makes the network from the number of features F, the points (N, D) at their end,
            the actions A and the size.
        with_points: Whether the features end with the points that are seen.
        batch: Windows of a step of training where no image is touched.
    """

    size: type[Size]
    objective: Callable[[], Objective]
    network: Callable[[int, tuple[int, int], int, Any], nn.Module]
    with_points: bool
    batch: int


def _denoiser(
    features: int, points: tuple[int, int], actions: int, size: DiffusionSize
) -> Denoiser:
    return Denoiser(
        features,
        horizon=size.horizon,
        actions=actions,
        width=size.width,
        depth=size.depth,
        condition=size.condition,
    )


def _action_expert(
    features: int, points: tuple[int, int], actions: int, size: FlowSize
) -> ActionExpert:
    return ActionExpert(features, points, horizon=size.horizon, actions=actions, size=size)


BACKBONES: Mapping[str, Backbone] = {
    'diffusion': Backbone(DiffusionSize, Diffusion, _denoiser, with_points=False, batch=256),
    'flow': Backbone(FlowSize, FlowMatching, _action_expert, with_points=True, batch=128),
}


def backbone_of(name: str) -> Backbone:
    """The backbone of that name. Raises ConfigurationError if it is not one of those built in."""
    if name not in BACKBONES:
        raise ConfigurationError(
            f"the backbone '{name}' is not one of those built in: {', '.join(BACKBONES)}"
        )
    return BACKBONES[name]
