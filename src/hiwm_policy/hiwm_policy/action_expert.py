# SPDX-License-Identifier: Apache-2.0
"""The action expert: a small transformer over what is seen and a noisy chunk, as in pi0.

Two streams of tokens with weights of their own attend together, layer by layer (Black et al. 2024,
arXiv 2410.24164, section IV). One is of what is seen: a token for every point of the images and one
for the state. The other is of the chunk: a token for every few actions, mixed with the time of the
flow and the state. What is seen never attends to the chunk, so its keys and values are computed
once for all the steps of the integration.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiwm_core.error import ConfigurationError
from hiwm_policy.size import FlowSize

TIME_FEATURES = 64
# Periods of the sinusoids of the time, which runs from 0 to 1 (pi0's own range).
SHORTEST_PERIOD, LONGEST_PERIOD = 4e-3, 4.0
# Sines and cosines of a point's coordinates, whose range is about -1 to 1.
POINT_WAVES = 2
FORWARD_FACTOR = 3

KeysValues = tuple[Tensor, Tensor]
# What is known of what is seen: every layer's keys and values, and the state itself.
Seen = tuple[list[KeysValues], Tensor]


class ExpertLayer(nn.Module):
    """Attention and a two-layer perceptron beside the identity, for the tokens of one stream."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_width
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 3 * inner)
        self.leave = nn.Linear(inner, width)
        self.forward_norm = nn.LayerNorm(width)
        self.forward_in = nn.Linear(width, FORWARD_FACTOR * width)
        self.forward_out = nn.Linear(FORWARD_FACTOR * width, width)

    def forward(self, tokens: Tensor, seen: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Tokens (B, N, W) after the layer, and their keys and values (B, H, N, h).

        Args:
            seen: Keys and values of the other stream's tokens, which are attended to as well.
        """
        query, keys, values = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.enter(self.norm(tokens)).chunk(3, dim=-1)
        )
        own = (keys, values)
        if seen is not None:
            keys = torch.cat([seen[0], keys], dim=2)
            values = torch.cat([seen[1], values], dim=2)
        mixed = attend(query, keys, values)
        tokens = tokens + self.leave(mixed.transpose(1, 2).flatten(2))
        hidden = functional.silu(self.forward_in(self.forward_norm(tokens)))
        return tokens + self.forward_out(hidden), own


class ActionExpert(nn.Module):
    """Noisy chunks at a time of the flow, and what is seen, to the chunks where the flow ends.

    Args:
        features: F, numbers that describe what is seen; the last N x D of them are points.
        points: N points of D coordinates, one token each.
        horizon: Tp, steps of a chunk.
        actions: A, numbers in a step.
        size: How large it is.
    """

    def __init__(
        self, features: int, points: tuple[int, int], *, horizon: int, actions: int, size: FlowSize
    ) -> None:
        super().__init__()
        self.shape, self.points = (horizon, actions), points
        if horizon % size.patch:
            raise ConfigurationError(
                f'a chunk of {horizon} actions cannot be cut into patches of {size.patch}; give '
                'FlowSize a patch that divides the horizon'
            )
        count, dimensions = points
        known = features - count * dimensions
        self.state = nn.Linear(known, size.seen_width)
        self.point = nn.Linear(dimensions * (1 + 2 * POINT_WAVES), size.seen_width)
        self.place = nn.Parameter(0.02 * torch.randn(count, size.seen_width))
        self.enter = nn.Linear(size.patch * actions, size.width)
        self.position = nn.Parameter(0.02 * torch.randn(horizon // size.patch, size.width))
        self.guide = nn.Linear(known + TIME_FEATURES, size.width)
        self.mix = nn.Sequential(
            nn.SiLU(),
            nn.Linear(size.width, size.width),
            nn.SiLU(),
            nn.Linear(size.width, size.width),
        )
        shape = (size.heads, size.head_width)
        self.seen = nn.ModuleList(ExpertLayer(size.seen_width, *shape) for _ in range(size.depth))
        self.expert = nn.ModuleList(ExpertLayer(size.width, *shape) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width)
        self.leave = nn.Linear(size.width, size.patch * actions)

    def condition(self, features: Tensor) -> Seen:
        """What is known of what is seen, features (B, F); the same at all times."""
        count, dimensions = self.points
        state, points = features.tensor_split([features.shape[-1] - count * dimensions], dim=-1)
        tokens = self.state(state)[:, None]
        if count:
            waves = _waves(points.unflatten(-1, self.points))
            tokens = torch.cat([self.point(waves) + self.place, tokens], dim=1)
        kept = []
        for layer in self.seen:
            tokens, keys_values = layer(tokens)
            kept.append(keys_values)
        return kept, state

    def forward(self, noisy: Tensor, time: Tensor, condition: Seen) -> Tensor:
        """The chunks (B, Tp, A) without noise.

        Args:
            noisy: (B, Tp, A).
            time: (B,), 0: noise, 1: a chunk.
            condition: From `condition`, of the same B rows.
        """
        layers, state = condition
        guide = self.guide(torch.cat([state, time_features(time)], dim=-1))
        patches = noisy.reshape(len(noisy), len(self.position), -1)
        tokens = self.mix(self.enter(patches) + guide[:, None]) + self.position
        for layer, seen in zip(self.expert, layers, strict=True):
            tokens, _ = layer(tokens, seen)
        out: Tensor = self.leave(self.norm(tokens))
        return out.reshape(noisy.shape)


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Values (B, H, n, h) mixed by the softmax of products (Vaswani et al. 2017, section 3.2.1).

    Written out, because torch's fused attention learns slowly from a few dozen tokens in bfloat16
    on a CPU: a step of training takes 0.09 s so, and 0.23 s with it.
    """
    scores = query @ keys.transpose(-1, -2) * query.shape[-1] ** -0.5
    return scores.softmax(-1).to(values.dtype) @ values


def _waves(points: Tensor) -> Tensor:
    """Points (..., D) and their sines and cosines (..., D (1 + 2 POINT_WAVES))."""
    angles = [math.pi * 2**power * points for power in range(POINT_WAVES)]
    return torch.cat(
        [points, *(wave(angle) for angle in angles for wave in (torch.sin, torch.cos))], dim=-1
    )


def time_features(time: Tensor) -> Tensor:
    """Sinusoids (B, 64) of times (B,) with periods from 0.004 to 4."""
    half = TIME_FEATURES // 2
    share = torch.linspace(0.0, 1.0, half, device=time.device)
    periods = SHORTEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** share
    angles = 2.0 * math.pi * time[:, None].float() / periods
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
