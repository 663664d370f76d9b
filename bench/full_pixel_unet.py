# SPDX-License-Identifier: Apache-2.0
"""The reference for speed: a diffusion U-Net on all pixels, of the shape that DIAMOND uses.

After "Diffusion for World Modeling: Visual Details Matter in Atari" (Alonso et al. 2024, arXiv
2405.12399, appendix on architecture): four levels of 64 channels with two residual blocks each,
group norm scaled and shifted by a condition of 256 (noise level and the last four actions),
attention at the bottom, the last four frames beside the noisy one at the input, preconditioned as
in EDM (Karras et al. 2022, arXiv 2206.00364), sampled by Euler steps. Discrete actions are embedded
there; here the commanded values are projected to the same width. Its weights stay random: only the
time that it takes is measured, and that does not depend on them.
"""

from __future__ import annotations

from itertools import pairwise
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

CONTEXT = 4  # frames and actions
LEVELS = 4
BLOCKS = 2  # of a level, on the way down; one more on the way up
CHANNELS = 64
CONDITION = 256
GROUP = 32  # channels of a group norm's group
HEAD = 8  # channels of an attention head
EPSILON = 1e-5
SIGMA_DATA = 0.5
SIGMA_MIN, SIGMA_MAX, RHO = 2e-3, 5.0, 7.0


class ConditionedNorm(nn.Module):
    """Group norm of (B, C, H, W), scaled and shifted by a condition (B, CONDITION)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = max(1, channels // GROUP)
        self.linear = nn.Linear(CONDITION, 2 * channels)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.linear(condition)[..., None, None].chunk(2, dim=1)
        return functional.group_norm(values, self.groups, eps=EPSILON) * (1.0 + scale) + shift


class Attention(nn.Module):
    """Self-attention over all places of (B, CHANNELS, H, W), added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(CHANNELS // GROUP, CHANNELS, eps=EPSILON)
        self.project = nn.Conv2d(CHANNELS, 3 * CHANNELS, 1)
        self.out = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, values: Tensor) -> Tensor:
        rows, _, height, width = values.shape
        heads = self.project(self.norm(values)).reshape(rows, 3, CHANNELS // HEAD, HEAD, -1)
        query, key, value = heads.transpose(-1, -2).unbind(1)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return values + self.out(mixed.transpose(-1, -2).reshape(rows, CHANNELS, height, width))


class ResidualBlock(nn.Module):
    """Two convolutions beside a skip: (B, inputs, H, W) -> (B, CHANNELS, H, W)."""

    def __init__(self, inputs: int, *, attention: bool = False) -> None:
        super().__init__()
        self.skip = nn.Identity() if inputs == CHANNELS else nn.Conv2d(inputs, CHANNELS, 1)
        self.first_norm, self.second_norm = ConditionedNorm(inputs), ConditionedNorm(CHANNELS)
        self.first = nn.Conv2d(inputs, CHANNELS, 3, padding=1)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.attention = Attention() if attention else nn.Identity()

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        hidden = self.first(functional.silu(self.first_norm(values, condition)))
        hidden = self.second(functional.silu(self.second_norm(hidden, condition)))
        attended: Tensor = self.attention(hidden + self.skip(values))
        return attended


class UNet(nn.Module):
    """(B, CHANNELS, H, W) -> the same; H and W are multiples of 2 ** (LEVELS - 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(ResidualBlock(CHANNELS) for _ in range(LEVELS * BLOCKS))
        self.shrink = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1) for _ in range(LEVELS - 1)
        )
        self.middle = nn.ModuleList(ResidualBlock(CHANNELS, attention=True) for _ in range(BLOCKS))
        self.grow = nn.ModuleList(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(LEVELS - 1)
        )
        self.up = nn.ModuleList(ResidualBlock(2 * CHANNELS) for _ in range(LEVELS * (BLOCKS + 1)))

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        kept = []
        for number, block in enumerate(self.down):
            level, place = divmod(number, BLOCKS)
            if level and not place:
                values = self.shrink[level - 1](values)
            if not place:
                kept.append(values)
            values = block(values, condition)
            kept.append(values)
        for block in self.middle:
            values = block(values, condition)
        for number, block in enumerate(self.up):
            level, place = divmod(number, BLOCKS + 1)
            if level and not place:
                values = functional.interpolate(values, scale_factor=2.0, mode='nearest')
                values = self.grow[level - 1](values)
            values = block(torch.cat([values, kept.pop()], dim=1), condition)
        return values


class FullPixelWorldModel(nn.Module):
    """The next frame from the last four frames and actions, by denoising.

    Args:
        actions: A, values of an action.
        seed: Of the random weights.
    """

    frequencies: Tensor

    def __init__(self, actions: int, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.register_buffer('frequencies', torch.randn(CONDITION // 2))
            self.action = nn.Linear(actions, CONDITION // CONTEXT)
            self.condition = nn.Sequential(
                nn.Linear(CONDITION, CONDITION), nn.SiLU(), nn.Linear(CONDITION, CONDITION)
            )
            self.enter = nn.Conv2d(3 * (CONTEXT + 1), CHANNELS, 3, padding=1)
            self.unet = UNet()
            self.norm = nn.GroupNorm(CHANNELS // GROUP, CHANNELS, eps=EPSILON)
            self.leave = nn.Conv2d(CHANNELS, 3, 3, padding=1)
        self.eval().requires_grad_(False)
        for value in self.parameters():
            if value.ndim == 4:
                # Convolutions on CPUs are fastest with the channels innermost.
                value.data = value.data.contiguous(memory_format=torch.channels_last)

    @property
    def size(self) -> int:
        """Trainable numbers."""
        return sum(value.numel() for value in self.parameters())

    def sample(self, frames: Tensor, actions: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Next frames uint8 (B, H, W, 3).

        Args:
            frames: uint8 (B, CONTEXT, H, W, 3), the past, oldest first.
            actions: float32 (B, CONTEXT, A), commanded with them.
            noise: float32 (B, 3, H, W), standard normal.
            steps: Euler steps, one call of the network each.
        """
        rows, _, height, width, _ = frames.shape
        past = frames.permute(0, 1, 4, 2, 3).reshape(rows, 3 * CONTEXT, height, width)
        past = (past.float() / 127.5 - 1.0) / SIGMA_DATA
        embedded = self.action(actions).flatten(1)
        sigmas = [*noise_levels(steps), 0.0]
        picture = noise * sigmas[0]
        for sigma, following in pairwise(sigmas):
            denoised = self.denoise(picture, sigma, past, embedded)
            picture = picture + (picture - denoised) / sigma * (following - sigma)
        bytes_ = (picture * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8)
        return bytes_.permute(0, 2, 3, 1).contiguous()

    def denoise(self, picture: Tensor, sigma: float, past: Tensor, embedded: Tensor) -> Tensor:
        """EDM's preconditioned estimate of the clean picture (B, 3, H, W), -1 to 1."""
        total = sigma**2 + SIGMA_DATA**2
        phase = 2.0 * math.pi * (math.log(sigma) / 4.0) * self.frequencies
        level = torch.cat([phase.cos(), phase.sin()])
        condition = self.condition(level + embedded)
        hidden = torch.cat([past, picture / math.sqrt(total)], dim=1)
        hidden = self.enter(hidden.contiguous(memory_format=torch.channels_last))
        hidden = self.unet(hidden, condition)
        output = self.leave(functional.silu(self.norm(hidden)))
        skip = SIGMA_DATA**2 / total
        clean: Tensor = skip * picture + sigma * math.sqrt(skip) * output
        return clean.clamp(-1.0, 1.0)


def noise_levels(steps: int) -> list[float]:
    """EDM's decreasing noise levels."""
    high, low = SIGMA_MAX ** (1 / RHO), SIGMA_MIN ** (1 / RHO)
    shares = [index / max(1, steps - 1) for index in range(steps)]
    return [float((high + share * (low - high)) ** RHO) for share in shares]
