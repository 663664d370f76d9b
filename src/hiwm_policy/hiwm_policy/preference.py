# SPDX-License-Identifier: Apache-2.0
"""Learning from pairs: of two chunks after one observation, the one that succeeded is preferred.

The loss is that of Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908, equation 14):

    -log sigmoid(-beta ((e(good) - r(good)) - (e(bad) - r(bad))))

where e is the squared error of what the policy's denoiser predicts for a noisy chunk and r that of
the base, which stays as it was. All four have one noise level and one noise. As in the paper's own
training every level weighs the same; errors are summed over the steps and actions of a chunk, in
the denoiser's scale, and beta is the paper's beta T. A denoiser that predicts clean chunks or a
velocity has its error there, as flow matching's users of the loss have it.

The loss says only what is better than what. It is meant beside imitation, which says what is good.
"""

from __future__ import annotations

from collections.abc import Callable
import copy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hiwm_policy.acting import ActingData, features_of
from hiwm_policy.backbone import Objective
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.ranks import ALONE, Ranks

PAIR_BATCH = 64


def preference_loss(
    objective: Objective,
    policy: tuple[Any, Tensor],
    base: tuple[Any, Tensor],
    chunks: tuple[Tensor, Tensor],
    counted: Tensor,
    *,
    beta: float,
    generator: torch.Generator,
) -> Tensor:
    """The loss of B pairs.

    Args:
        policy: The denoiser that learns, and the features (B, F) that it is told.
        base: The same of the base; nothing is learned there.
        chunks: Good and bad ones (B, Tp, A) after the same observations.
        counted: bool (B, Tp), the steps that count.
        beta: How far the policy may go from the base: the smaller, the farther.
        generator: Of noise levels and noise.
    """
    drawn = objective.draw(chunks[0], generator)
    denoiser, features = policy
    condition = denoiser.condition(features)
    with torch.no_grad():
        condition_of_base = base[0].condition(base[1])

    def worse(clean: Tensor) -> Tensor:
        """By how much the policy's error (B,) is larger than the base's."""
        with torch.no_grad():
            before = objective.errors(base[0], condition_of_base, clean, drawn)
        errors = objective.errors(denoiser, condition, clean, drawn) - before
        return (errors * counted[..., None]).sum((1, 2))

    good, bad = chunks
    return -functional.logsigmoid(-beta * (worse(good) - worse(bad))).mean()


def preference(
    network: PolicyNetwork,
    data: ActingData,
    counted: Tensor,
    *,
    weight: float,
    beta: float,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Callable[[torch.Generator], Tensor]:
    """What `train_acting` adds to its loss: the weighted loss of a batch of pairs.

    Args:
        network: Learns; what it is now is the base.
        data: Of windows whose actions are the good chunk and then the bad one.
        counted: bool (M, Tp), of these windows.
        beta: As of `preference_loss`.
    """
    ranks.check(len(data), 'windows of pairs')
    objective = network.backbone.objective()
    base = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    horizon = network.size.horizon

    def loss(generator: torch.Generator) -> Tensor:
        chosen = data.draw(PAIR_BATCH, generator, ranks)
        if network.frame is not None:
            told, both = (part.to(device) for part in data.framed_batch(chosen, generator))
            told_base = told
        else:
            images, joints, actions, _ = (
                part.to(device) for part in data.image_batch(chosen, generator)
            )
            told, read = features_of(network, images, joints)
            with torch.no_grad():
                told_base, _ = features_of(base, images, joints)
            both = network.chunks(actions, joints[:, -1], read[:, -1])
        good, bad = both.split(horizon, dim=1)
        return weight * preference_loss(
            objective,
            (network.denoiser, told),
            (base.denoiser, told_base),
            (good, bad),
            counted[chosen].to(device),
            beta=beta,
            generator=generator,
        )

    return loss
