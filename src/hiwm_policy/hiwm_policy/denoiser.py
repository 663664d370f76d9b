# SPDX-License-Identifier: Apache-2.0
"""The denoiser: a residual network over a whole action chunk, modulated by what is seen.

A chunk is short (Tp x A numbers), so it is treated as one vector: each block mixes all its steps,
and a FiLM layer (Perez et al. 2018, arXiv 1709.07871) scales and shifts it by the condition and the
noise level. On a CPU a step of training is five times faster than with a one-dimensional U-Net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVEL_FEATURES = 64


class FilmBlock(nn.Module):
    """A two-layer perceptron beside the identity, modulated after its norm."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(condition, 2 * width)
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, dim=-1)
        hidden = functional.silu(self.norm(x) * (1.0 + scale) + shift)
        out: Tensor = x + self.outer(functional.silu(self.inner(hidden)))
        return out


class Denoiser(nn.Module):
    """Noisy chunks and conditions to clean chunks.

    Args:
        features: F, numbers that describe what is seen.
        horizon: Tp, steps of a chunk.
        actions: A, numbers in a step.
        width: Of the residual stream.
        depth: Blocks.
        condition: Width of the condition.
    """

    def __init__(
        self,
        features: int,
        *,
        horizon: int,
        actions: int,
        width: int,
        depth: int,
        condition: int,
    ) -> None:
        super().__init__()
        self.shape = (horizon, actions)
        self.seen = nn.Sequential(
            nn.Linear(features, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, condition),
        )
        self.level = nn.Sequential(
            nn.Linear(LEVEL_FEATURES, condition), nn.SiLU(), nn.Linear(condition, condition)
        )
        self.enter = nn.Linear(horizon * actions, width)
        self.blocks = nn.ModuleList(FilmBlock(width, condition) for _ in range(depth))
        self.leave = nn.Linear(width, horizon * actions)

    def condition(self, features: Tensor) -> Tensor:
        """The condition (B, C) of features (B, F); the same at every noise level."""
        out: Tensor = self.seen(features)
        return out

    def forward(self, noisy: Tensor, level: Tensor, condition: Tensor) -> Tensor:
        """The clean chunks (B, Tp, A).

        Args:
            noisy: (B, Tp, A).
            level: int64 (B,), the diffusion step.
            condition: (B, C), from `condition`.
        """
        modulation = functional.silu(condition + self.level(level_features(level)))
        x = self.enter(noisy.flatten(1))
        for block in self.blocks:
            x = block(x, modulation)
        out: Tensor = self.leave(functional.silu(x))
        return out.unflatten(1, self.shape)


def level_features(level: Tensor) -> Tensor:
    """Sinusoids (B, 64) of diffusion steps (B,), as in Vaswani et al. 2017."""
    half = LEVEL_FEATURES // 2
    rates = torch.exp(-math.log(10000.0) * torch.arange(half, device=level.device) / half)
    angles = level[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
