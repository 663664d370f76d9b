# SPDX-License-Identifier: Apache-2.0
"""Diffusion over action chunks: what is learned, and how a chunk is drawn.

As in Diffusion Policy (Chi et al. 2023, arXiv 2303.04137): 100 noise levels with the squared cosine
schedule in training, ten deterministic DDIM steps at run time. Predicted is the clean chunk.
"""

from __future__ import annotations

from typing import Any

from diffusers import DDIMScheduler, DDPMScheduler
import torch
from torch import Tensor
from torch.nn import functional

from hiwm_policy.denoiser import Denoiser

LEVELS = 100
SAMPLING_STEPS = 10
# Noise levels per window of a batch: the condition is computed once for all of them.
DRAWS = 2


def _schedule() -> dict[str, Any]:
    return {
        'num_train_timesteps': LEVELS,
        'beta_schedule': 'squaredcos_cap_v2',
        'prediction_type': 'sample',
        'clip_sample': False,
    }


class Diffusion:
    """The two directions of the noise process."""

    def __init__(self) -> None:
        # Their methods are hidden behind a decorator that has no types.
        sampling: Any = DDIMScheduler(**_schedule())
        sampling.set_timesteps(SAMPLING_STEPS)
        self._sampling = sampling
        self._noising: Any = DDPMScheduler(**_schedule())

    def loss(
        self,
        denoiser: Denoiser,
        features: Tensor,
        chunks: Tensor,
        counted: Tensor,
        generator: torch.Generator,
    ) -> Tensor:
        """Mean squared error of the predicted clean chunks, at random noise levels.

        Args:
            features: (B, F).
            chunks: (B, Tp, A), in the network's scale.
            counted: bool (B, Tp), the steps that are learned.
            generator: On the CPU, so that a seed means the same on every device.
        """
        condition = denoiser.condition(features).repeat(DRAWS, 1)
        clean = chunks.repeat(DRAWS, 1, 1)
        errors = self.errors(denoiser, condition, clean, self.draw(clean, generator))
        return errors[counted.repeat(DRAWS, 1)].mean()

    def draw(self, chunks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noise levels (B,) and noise (B, Tp, A) for chunks (B, Tp, A)."""
        level = torch.randint(LEVELS, (len(chunks),), generator=generator).to(chunks.device)
        return level, torch.randn(chunks.shape, generator=generator).to(chunks)

    def errors(
        self, denoiser: Denoiser, condition: Tensor, chunks: Tensor, drawn: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Squared errors (B, Tp, A) of the clean chunks that are predicted from noisy ones.

        Args:
            condition: (B, C), of the denoiser.
            drawn: From `draw`.
        """
        level, noise = drawn
        noisy = self._noising.add_noise(chunks, noise, level)
        predicted = denoiser(noisy, level, condition).float()
        return functional.mse_loss(predicted, chunks, reduction='none')

    @torch.no_grad()
    def sample(self, denoiser: Denoiser, features: Tensor, noise: Tensor) -> Tensor:
        """Chunks (B, Tp, A) from features (B, F) and standard normal noise (B, Tp, A)."""
        condition = denoiser.condition(features)
        chunks = noise
        for level in self._sampling.timesteps:
            levels = torch.full((len(chunks),), int(level), device=chunks.device)
            predicted = denoiser(chunks, levels, condition)
            chunks = self._sampling.step(predicted, level, chunks).prev_sample
        return chunks
