# SPDX-License-Identifier: Apache-2.0
"""Flow matching over action chunks: what is learned, and how a chunk is drawn.

As in pi0 (Black et al. 2024, arXiv 2410.24164): on the straight line from noise (time 0) to a chunk
(time 1) the velocity is learned, and ten Euler steps go along it at run time. Times are drawn with
more weight near the noise, where what is seen decides. Unlike there, the network gives the chunk at
the line's end, from which the velocity follows: it need not learn to take away the noise that it is
shown, and the last step ends at what it gives. The loss is the velocity's; Li and He 2025 (arXiv
2511.13720) compare what a network may give.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hiwm_policy.action_expert import ActionExpert

EULER_STEPS = 10
# Times per window of a batch: what is seen is looked at once for all of them.
DRAWS = 4
# Times are LATEST * (1 - u) with u from Beta(BETA, 1).
LATEST, BETA = 0.999, 1.5
# Of the line before its end, within which errors count no more than at its border.
NEAR_END = 0.1


class FlowMatching:
    """The two directions of the flow."""

    def loss(
        self,
        denoiser: ActionExpert,
        features: Tensor,
        chunks: Tensor,
        counted: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Mean squared error of the velocities, at random times.

        Args:
            features: (B, F).
            chunks: (B, Tp, A), in the network's scale.
            counted: bool (B, Tp), the steps that are learned.
            generator: On the CPU, so that a seed means the same on every device.
        """
        layers, state = denoiser.condition(features)
        seen = [(keys.repeat(DRAWS, 1, 1, 1), own.repeat(DRAWS, 1, 1, 1)) for keys, own in layers]
        clean = chunks.repeat(DRAWS, 1, 1)
        drawn = self.draw(clean, generator)
        errors = self.errors(denoiser, (seen, state.repeat(DRAWS, 1)), clean, drawn)
        return errors[counted.repeat(DRAWS, 1)].mean()

    def draw(self, chunks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Times (B,) and noise (B, Tp, A) for chunks (B, Tp, A)."""
        # The inverse of Beta(b, 1)'s distribution function u^b.
        drawn = torch.rand(len(chunks), generator=generator) ** (1.0 / BETA)
        time = (LATEST * (1.0 - drawn)).to(chunks)
        return time, torch.randn(chunks.shape, generator=generator).to(chunks)

    def errors(
        self, denoiser: ActionExpert, condition: Any, chunks: Tensor, drawn: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Squared errors (B, Tp, A) of the velocities that are predicted on the way to chunks.

        Args:
            condition: Of the denoiser, for the same B.
            drawn: From `draw`.
        """
        time, noise = drawn
        at = time[:, None, None]
        noisy = at * chunks + (1.0 - at) * noise
        ends = denoiser(noisy, time, condition).float()
        left = (1.0 - at).clamp(min=NEAR_END)
        return functional.mse_loss(ends / left, chunks / left, reduction='none')

    @torch.no_grad()
    def sample(self, denoiser: ActionExpert, features: Tensor, noise: Tensor) -> Tensor:
        """Chunks (B, Tp, A) from features (B, F) and standard normal noise (B, Tp, A)."""
        condition = denoiser.condition(features)
        chunks = noise
        for step in range(EULER_STEPS):
            time = torch.full((len(chunks),), step / EULER_STEPS, device=chunks.device)
            ends = denoiser(chunks, time, condition)
            chunks = chunks + (ends - chunks) / (EULER_STEPS - step)
        return chunks
