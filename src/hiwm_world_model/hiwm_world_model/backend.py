# SPDX-License-Identifier: Apache-2.0
"""The world model as a backend of a rig: each call is one state in, one observation out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_world_model.model import Latent, WorldModel
from hiwm_world_model.weights import load_model


class WorldModelBackend:
    """A world model behind `hiwm_core.backend.Backend`.

    An observation's `state` is a row of `Latent.pack`. Every call computes a batch of one, so that
    the same arguments give the same bits in any order of calls.

    Args:
        model: Frozen.
    """

    name = 'world_model'
    context = 1

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self._task = model.task

    def reset(self, scene: NDArray[np.float64], key: int) -> Observation:
        """The scene (S,) at rest. Raises HiwmError if it is not one of the task."""
        values = self._task.check_scene(scene)
        with torch.inference_mode():
            return self._observe(self.model.start(_row(values)))

    def start_from_frame(self, frame: NDArray[np.uint8]) -> Observation:
        """The scene that a camera frame uint8 (H, W, 3) shows, at rest.

        Raises:
            HiwmError: The frame has another size than the task's camera gives.
        """
        with torch.inference_mode():
            return self._observe(self.model.start(self._encode(frame)))

    def step(
        self, history: Sequence[Observation], action: NDArray[np.float64], key: int
    ) -> Observation:
        """One period on from `history[-1]`.

        An observation of another rig is taken up where it stands: from its scene, or where it has
        none from its frame, at rest.

        Raises:
            HiwmError: The prediction is not finite, or the frame to start from has a wrong size.
        """
        with torch.inference_mode():
            latent = self.model.step(self._latent(history[-1]), _row(action), [key])
            if not bool(torch.isfinite(latent.scene).all()):
                raise HiwmError(
                    'the world model predicted a scene that is not finite; roll back or reset',
                    ErrorCode.MODEL_FAULT,
                )
            return self._observe(latent)

    def _latent(self, observation: Observation) -> Latent:
        if observation.state.size == self.model.latent_size:
            return self.model.unpack(_row(observation.state))
        if observation.scene.size == len(self._task.scene):
            return self.model.start(_row(observation.scene))
        return self.model.start(self._encode(observation.frame))

    def _encode(self, frame: NDArray[np.uint8]) -> Tensor:
        if frame.shape != self._task.frame_shape:
            height, width, _ = self._task.frame_shape
            raise HiwmError(
                f'a frame of shape {frame.shape} was given; '
                f"task '{self._task.name}' has frames of {height} x {width} x 3"
            )
        return self.model.encode(torch.from_numpy(np.ascontiguousarray(frame))[None])

    def _observe(self, latent: Latent) -> Observation:
        model = self.model
        frames = model.decode(latent.shown)
        progress, success = model.heads(latent.shown)
        fidelity = model.fidelity(latent, frames)
        scene = latent.shown[0].double().numpy()
        return Observation(
            frame=frames[0].numpy(),
            joints=self._task.joints_of_scene(scene),
            scene=scene,
            progress=float(progress.clamp(0.0, 1.0)),
            success=float(success),
            fidelity=float(fidelity),
            state=latent.pack()[0].double().numpy(),
        )


def _row(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float32))[None]


def make_backend(task: Task, model: Path | None) -> WorldModelBackend:
    """The entry point `world_model` of the group `hiwm.backends`. Raises ConfigurationError."""
    if model is None:
        raise ConfigurationError(
            'a world model needs weights; name the folder that holds them', ErrorCode.MODEL_FAULT
        )
    return WorldModelBackend(load_model(model, task))
