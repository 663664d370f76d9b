# SPDX-License-Identifier: Apache-2.0
"""The second phase of training: the denoiser learns the demonstrations' action chunks.

Two ways, by `Size.framed`:

- In a body's frame: the body's pose is what the encoder will read at run time, so here it is taken
  from the episodes and blurred by more than the encoder's error. No image is touched, which makes a
  step a hundred times cheaper; the encoder stays as the first phase left it.
- Otherwise encoder and denoiser learn together from frames. Where the episodes know their scene,
  the encoder goes on reading it beside (`reading_weight`); else that loss is absent.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from hiwm_policy.dataset import UNCHOSEN, Frames, Windows
from hiwm_policy.encoder import images_of
from hiwm_policy.landmark import landmarks_of
from hiwm_policy.model import PolicyNetwork, read_frames
from hiwm_policy.phase import Phase
from hiwm_policy.ranks import ALONE, Ranks
from hiwm_policy.reading import reading_loss

IMAGE_BATCH = 64
RATE = 1e-3
# What is added to poses: metres and radians; the same for all frames of a window, and for each.
BLUR_POSITION, BLUR_ANGLE, BLUR_EACH = 0.001, 0.01, 0.3
# Images are moved by up to this many pixels; positions stay, so it must be a small part of a body.
SHIFT = 1
# Beside this, a task's constant column would be divided by nothing.
LEAST_SCALE = 1e-3


class ActingData:
    """Demonstrations on a device, as the denoiser needs them.

    Args:
        network: Gives the scales; `fit_scales` sets them.
        frames: The demonstrations.
        windows: Which rows belong together.
    """

    def __init__(self, network: PolicyNetwork, frames: Frames, windows: Windows) -> None:
        self._network, self._frames = network, frames
        self.fingerprint = frames.fingerprint()
        self.observations = torch.from_numpy(windows.observations)
        self.action_rows = torch.from_numpy(windows.actions)
        # Beyond an episode's end a chunk repeats the last action. To learn that would be to learn
        # to stand still wherever an episode may end: just before the task is done.
        self.counted = torch.ones_like(self.action_rows, dtype=torch.bool)
        self.counted[:, 1:] = self.action_rows[:, 1:] > self.action_rows[:, :-1]
        # Nor is a handover's ramp learned, or a hold, wherever in a chunk it lies.
        unchosen = np.isin(frames.sources[windows.actions], UNCHOSEN)
        self.counted &= torch.from_numpy(~unchosen)
        if windows.counted is not None:
            self.counted &= torch.from_numpy(windows.counted)
        digest = hashlib.sha256(self.action_rows.numpy().tobytes())
        digest.update(self.counted.numpy().tobytes())
        self._mass = None
        if windows.weights is not None:
            self._mass = torch.from_numpy(np.cumsum(windows.weights))
            digest.update(windows.weights.tobytes())
        self.fingerprint += f' windows {digest.hexdigest()}'
        self.joints = torch.from_numpy(frames.joints)
        self.actions = torch.from_numpy(frames.actions)
        marks = known_landmarks(network, frames)
        if marks is None and network.frame is not None:
            # A world model that knows no scene: what the policy sees in its frames.
            marks = read_frames(network.encoder, frames.frames, torch.device('cpu'))[1].numpy()
        self.landmarks = torch.from_numpy(marks) if marks is not None else None
        if network.frame is not None and self.landmarks is not None:
            self.origin, self.angle = network.frame.pose(self.landmarks)

    def __len__(self) -> int:
        return len(self.observations)

    def draw(self, count: int, generator: torch.Generator, ranks: Ranks = ALONE) -> Tensor:
        """Windows (count,) of a rank's share, drawn with replacement by their weights.

        All shares weigh the same, so what the ranks draw together is drawn by the weights too.
        """
        if self._mass is None:
            low, length = (int(part) for part in ranks.share(len(self)))
            return torch.randint(low, low + length, (count,), generator=generator)
        begin, mass = ranks.share(float(self._mass[-1]))
        at = begin + mass * torch.rand(count, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._mass, at, right=True).clamp_max(len(self) - 1)

    def fit_scales(self) -> None:
        """Set the network's scales to the mean and deviation of the demonstrations."""
        network = self._network
        rows = self.observations[:, -1]
        marks = self.landmarks[rows] if self.landmarks is not None else torch.zeros(len(rows), 0, 2)
        raw = network.raw_chunks(self.actions[self.action_rows], self.joints[rows], marks)
        network.chunk_mean.copy_(raw.mean((0, 1)))
        network.chunk_scale.copy_(raw.std((0, 1)).clamp_min(LEAST_SCALE))
        network.joint_mean.copy_(self.joints.mean(0))
        network.joint_scale.copy_(self.joints.std(0).clamp_min(LEAST_SCALE))

    def framed_batch(self, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Features (B, F) and scaled chunks (B, Tp, A) of windows, with blurred poses."""
        network = self._network
        assert network.frame is not None
        rows = self.observations[chosen]
        count, context = rows.shape

        def blur(*shape: int) -> Tensor:
            common = torch.randn(count, 1, *shape, generator=generator)
            return common + BLUR_EACH * torch.randn(count, context, *shape, generator=generator)

        origin = self.origin[rows] + BLUR_POSITION * blur(2)
        angle = self.angle[rows] + BLUR_ANGLE * blur()
        joints = self.joints[rows] + BLUR_POSITION * blur(self.joints.shape[1])
        raw = network.frame.enter(
            self.actions[self.action_rows[chosen]], origin[:, -1], angle[:, -1]
        )
        chunks = (raw - network.chunk_mean.cpu()) / network.chunk_scale.cpu()
        return network.framed_features(joints, origin, angle), chunks

    def image_batch(self, chosen: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Images (B, To, 3, H, W), joints (B, To, J), actions (B, Tp, A) and rows (B, To)."""
        rows = self.observations[chosen]
        frames = torch.from_numpy(self._frames.frames[rows.flatten().numpy()])
        images = images_of(frames).unflatten(0, rows.shape)
        return (
            shifted(images, generator),
            self.joints[rows],
            self.actions[self.action_rows[chosen]],
            rows,
        )


def known_landmarks(network: PolicyNetwork, frames: Frames) -> NDArray[np.float32] | None:
    """The normalized landmarks (N, P, D) of all frames; None if the episodes know no scene."""
    landmarks = landmarks_of(network.task)
    if landmarks is None or frames.scene.shape[1] != len(network.task.scene):
        return None
    return landmarks.normalize(landmarks.of_scene(frames.scene)).astype(np.float32)


def features_of(network: PolicyNetwork, images: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, F) and landmarks (B, To, P, D) of images (B, To, 3, H, W) and joints."""
    keypoints, read = (
        part.unflatten(0, images.shape[:2]) for part in network.encoder(images.flatten(0, 1))
    )
    return network.features(joints, keypoints, read), read


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (B, To, 3, H, W), each window moved by up to SHIFT pixels; the border is repeated."""
    count, context = images.shape[:2]
    height, width = images.shape[-2:]
    moves = torch.randint(-SHIFT, SHIFT + 1, (count, 2), generator=generator)
    rows = (torch.arange(height) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[:, 1:]).clamp(0, width - 1)
    window = torch.arange(count)[:, None, None, None]
    step = torch.arange(context)[None, :, None, None]
    picked = images.permute(0, 1, 3, 4, 2)[
        window, step, rows[:, None, :, None], columns[:, None, None, :]
    ]
    return picked.permute(0, 1, 4, 2, 3)


def train_acting(
    network: PolicyNetwork,
    data: ActingData,
    *,
    steps: int,
    seed: int,
    folder: Path,
    device: torch.device,
    reading_weight: float,
    rate: float = RATE,
    beside: Callable[[torch.Generator], Tensor] | None = None,
    ranks: Ranks = ALONE,
) -> Phase:
    """Teaches the denoiser, and without a frame the encoder too; the result is `averaged`.

    Args:
        reading_weight: Of the loss on landmarks, where both are learned together.
        rate: The highest learning rate.
        beside: Another loss, which is added.
        ranks: Which of the processes that train together this is.

    Raises:
        ConfigurationError: There are fewer windows than ranks.
    """
    ranks.check(len(data), 'windows')
    objective = network.backbone.objective()
    framed = network.frame is not None
    network.to(device)
    phase = Phase(
        'acting',
        network.denoiser if framed else network,
        steps=steps,
        rate=rate,
        seed=seed + 1,
        folder=folder,
        data=data.fingerprint,
        ranks=ranks,
    )

    def framed_loss(generator: torch.Generator) -> Tensor:
        chosen = data.draw(network.backbone.batch, generator, ranks)
        features, chunks = data.framed_batch(chosen, generator)
        counted = data.counted[chosen].to(device)
        return objective.loss(
            network.denoiser, features.to(device), chunks.to(device), counted, generator
        )

    def image_loss(generator: torch.Generator) -> Tensor:
        chosen = data.draw(IMAGE_BATCH, generator, ranks)
        images, joints, actions, rows = (
            part.to(device) for part in data.image_batch(chosen, generator)
        )
        features, read = features_of(network, images, joints)
        chunks = network.chunks(actions, joints[:, -1], read[:, -1])
        counted = data.counted[chosen].to(device)
        loss = objective.loss(network.denoiser, features, chunks, counted, generator)
        if data.landmarks is not None and reading_weight > 0.0:
            loss = loss + reading_weight * reading_loss(read, data.landmarks[rows.cpu()].to(device))
        return loss

    own = framed_loss if framed else image_loss
    phase.run(own if beside is None else lambda generator: own(generator) + beside(generator))
    return phase
