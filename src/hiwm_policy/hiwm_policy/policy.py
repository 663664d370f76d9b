# SPDX-License-Identifier: Apache-2.0
"""The built-in policies behind `hiwm_core.policy.Policy`: images and joints to a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from hiwm_core.alignment import filled
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy.encoder import channels_last, images_of
from hiwm_policy.model import PolicyNetwork, load_model


class NetworkPolicy:
    """A policy of either backbone, on the CPU.

    It keeps nothing between calls: the same history and key give the same chunk, on one machine and
    build and with one number of threads. Computed among others, a chunk's last bits may differ.

    Args:
        task: What is commanded and measured.
        network: Trained for it.
    """

    def __init__(self, task: Task, network: PolicyNetwork) -> None:
        self.name = network.size.backbone
        self._task = task
        self._network = network.eval().requires_grad_(False)
        channels_last(self._network.encoder)
        self._objective = network.backbone.objective()

    @property
    def context(self) -> int:
        return self._network.size.context

    @property
    def chunk_steps(self) -> int:
        return self._network.size.chunk_steps

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        """The next actions (Tp, A), within the task's limits.

        Raises:
            HiwmError: The history is empty, or a frame has not the task's size.
        """
        return self.chunks([history], [key])[0]

    def chunks(
        self, histories: Sequence[Sequence[Observation]], keys: Sequence[int]
    ) -> NDArray[np.float64]:
        """The next actions (B, Tp, A) of B histories, within the task's limits.

        Raises:
            HiwmError: A history is empty, or a frame has not the task's size.
        """
        recent = [observation for each in histories for observation in self._recent(each)]
        network, size = self._network, self._network.size
        count = len(histories)
        frames = torch.from_numpy(np.stack([observation.frame for observation in recent]))
        joints = torch.from_numpy(
            np.stack([observation.joints for observation in recent]).astype(np.float32)
        ).unflatten(0, (count, size.context))
        noise = np.stack(
            [
                np.random.default_rng(key).standard_normal(
                    (size.horizon, len(self._task.actions)), dtype=np.float32
                )
                for key in keys
            ]
        )
        with torch.inference_mode():
            keypoints, landmarks = (
                part.unflatten(0, (count, size.context))
                for part in network.encoder(images_of(frames))
            )
            features = network.features(joints, keypoints, landmarks)
            chunks = self._objective.sample(network.denoiser, features, torch.from_numpy(noise))
            actions = network.actions(chunks, joints[:, -1], landmarks[:, -1])
        return np.clip(
            actions.numpy().astype(np.float64), self._task.action_low, self._task.action_high
        )

    def _recent(self, history: Sequence[Observation]) -> list[Observation]:
        """The newest `context` observations; the oldest stands in for those that are missing."""
        if not history:
            raise HiwmError('a chunk needs at least one observation')
        recent = filled(history, self.context)
        for observation in recent:
            check_frame(self._task, observation.frame)
        return recent


def check_frame(task: Task, frame: NDArray[np.uint8]) -> None:
    """Raises HiwmError if a frame has not the task's size."""
    if frame.shape != task.frame_shape:
        height, width = frame.shape[:2]
        raise HiwmError(
            f'the camera gives {width}x{height} pixels; the policy of task {task.name} needs '
            f"{task.camera.width}x{task.camera.height}: set the camera's profile accordingly"
        )


def diffusion(task: Task, model: Path | None) -> NetworkPolicy:
    """The entry point `diffusion` in the group `hiwm.policies`."""
    return _trained('diffusion', task, model)


def flow(task: Task, model: Path | None) -> NetworkPolicy:
    """The entry point `flow` in the group `hiwm.policies`."""
    return _trained('flow', task, model)


def _trained(name: str, task: Task, model: Path | None) -> NetworkPolicy:
    if model is None:
        raise ConfigurationError(
            f"the policy '{name}' needs trained weights: give the folder that holds them"
        )
    network, card = load_model(model, task)
    if card['backbone'] != name:
        raise ConfigurationError(
            f"the policy in {model} has the backbone '{card['backbone']}', not '{name}'"
        )
    return NetworkPolicy(task, network)
