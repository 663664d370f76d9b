# SPDX-License-Identifier: Apache-2.0
"""The first phase of training: the encoder learns to read the task's landmarks from frames.

Any frame whose scene is known serves, also play and failures: nothing here is about acting. Frames
are changed as cameras and world models change them: brightness, tint, noise, softness.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional

from hiwm_policy.dataset import Frames
from hiwm_policy.encoder import Encoder, channels_last, images_of
from hiwm_policy.landmark import Landmarks
from hiwm_policy.phase import Phase
from hiwm_policy.ranks import ALONE, Ranks

BATCH = 64
RATE = 2e-3
# Below this error (a share of half the workspace) the loss is quadratic.
BEND = 0.02
MOST_CONTRAST, MOST_TINT, MOST_NOISE = 0.1, 0.05, 0.05


def change(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, 3, H, W) from 0 to 1, each changed in its own way; positions stay."""
    count = len(images)

    def draw(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator).to(images)

    contrast = 1.0 + MOST_CONTRAST * draw(1, 1, 1)
    tint = MOST_TINT * draw(3, 1, 1)
    changed = (images - 0.5) * contrast + 0.5 + tint
    amount = torch.rand(count, 1, 1, 1, generator=generator).to(images)
    # Every fourth is softened, as a world model's frames are.
    soft = functional.avg_pool2d(changed[::4], 3, stride=1, padding=1, count_include_pad=False)
    changed[::4] = torch.lerp(changed[::4], soft, amount[::4])
    return changed + MOST_NOISE * amount * draw(*images.shape[1:])


def reading_loss(read: Tensor, wanted: Tensor) -> Tensor:
    """How far normalized landmarks (B, P, D) are from where they should be."""
    return functional.smooth_l1_loss(read, wanted, beta=BEND)


def train_reading(
    encoder: Encoder,
    landmarks: Landmarks,
    frames: Frames,
    rows: NDArray[np.int64],
    *,
    steps: int,
    seed: int,
    folder: Path,
    device: torch.device,
    ranks: Ranks = ALONE,
) -> Phase:
    """Teaches the encoder; the phase's `averaged` is the result.

    Args:
        frames: With known scenes.
        rows: Those of the frames that may be looked at.
        ranks: Which of the processes that train together this is.
    """
    phase = Phase(
        'reading',
        channels_last(encoder.to(device)),
        steps=steps,
        rate=RATE,
        seed=seed,
        folder=folder,
        data=f'{frames.fingerprint()} rows {len(rows)} {int(rows.sum())}',
        ranks=ranks,
    )
    ranks.check(len(rows), 'frames')
    low, count = (int(part) for part in ranks.share(len(rows)))
    wanted = landmarks.normalize(landmarks.of_scene(frames.scene)).astype(np.float32)

    def loss(generator: torch.Generator) -> Tensor:
        chosen = rows[torch.randint(low, low + count, (BATCH,), generator=generator).numpy()]
        images = images_of(torch.from_numpy(frames.frames[chosen]).to(device))
        _, read = encoder(change(images, generator))
        return reading_loss(read, torch.from_numpy(wanted[chosen]).to(device))

    phase.run(loss)
    return phase
