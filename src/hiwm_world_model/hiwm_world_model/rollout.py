# SPDX-License-Identifier: Apache-2.0
"""A model unrolled open loop, and how far two scenes or two frames are from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from hiwm_world_model.features import SceneGeometry, subtract
from hiwm_world_model.model import Latent, WorldModel


def key_of(seed: int, episode: int, step: int) -> int:
    """64 bits for a step of an episode."""
    return int(np.random.SeedSequence([seed, episode, step]).generate_state(1, np.uint64)[0])


def unroll(
    model: WorldModel, scene: Tensor, actions: Tensor, seed: int, velocity: Tensor | None = None
) -> list[Latent]:
    """States after 0, 1, ..., T steps from scenes (B, S) with actions (B, T, A)."""
    latents = [model.start(scene, velocity)]
    for step in range(actions.shape[1]):
        keys = [key_of(seed, episode, step) for episode in range(len(scene))]
        latents.append(model.step(latents[-1], actions[:, step], keys))
    return latents


@dataclass(frozen=True)
class PoseErrors:
    """How far predicted scenes (..., S) are from true ones; arrays (...).

    Attributes:
        driven_px: Of the worst commanded body's position, pixels.
        other_px: Of the worst other body's position, pixels.
        other_deg: Of the worst other body's angle, degrees.
    """

    driven_px: NDArray[np.float64]
    other_px: NDArray[np.float64]
    other_deg: NDArray[np.float64]


def pose_errors(geometry: SceneGeometry, predicted: Tensor, true: Tensor) -> PoseErrors:
    """NaN where a task has no body of a kind, or a scene is NaN."""
    change = subtract(geometry.task, predicted, true)
    scale = geometry.task.camera.metres_per_pixel
    driven: list[Tensor] = []
    other: list[Tensor] = []
    angle: list[Tensor] = []
    for body in geometry.bodies:
        if body.planar:
            distance = change[..., body.position].square().sum(-1).sqrt() / scale
            (driven if body.command else other).append(distance)
        if body.angle >= 0 and not body.command:
            angle.append(change[..., body.angle].abs() * (180.0 / math.pi))
    return PoseErrors(*(_worst(values, change) for values in (driven, other, angle)))


def _worst(values: Sequence[Tensor], like: Tensor) -> NDArray[np.float64]:
    if not values:
        return np.full(like.shape[:-1], np.nan)
    return torch.stack(list(values)).amax(0).double().numpy()


def psnr(predicted: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio (...) of frames (..., H, W, 3), dB, at most 60."""
    difference = predicted.astype(np.float32) - true.astype(np.float32)
    error = np.square(difference).mean((-3, -2, -1)).astype(np.float64)
    return 10.0 * np.log10(255.0**2 / np.maximum(error, 255.0**2 / 1e6))


def auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative; NaN without both."""
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    order = np.argsort(score, kind='stable')
    ranks = np.empty(len(score))
    ranks[order] = np.arange(1, len(score) + 1)
    for value in np.unique(score):
        same = score == value
        ranks[same] = ranks[same].mean()
    return float(
        (ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )
