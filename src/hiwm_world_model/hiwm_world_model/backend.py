# SPDX-License-Identifier: Apache-2.0
"""The world model as a backend of a rig: rows of state in, rows of state, frames, readings out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from hiwm_core.backend import Readings
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.task import Task
from hiwm_world_model.model import WorldModel
from hiwm_world_model.weights import load_model

FloatArray = NDArray[np.float64]
FrameArray = NDArray[np.uint8]

# How torch's CPU allocator says that there is no memory; it has no class of its own for that.
CPU_OUT_OF_MEMORY = "can't allocate memory"


class WorldModelBackend:
    """A world model behind `hiwm_core.backend.Backend`.

    A state is a row of `Latent.pack`. On one machine, build and device a row computed alone has the
    same bits whatever was computed before; computed among others, its last bits may differ.

    Args:
        model: Frozen; computes on the device on which it lies.
    """

    name = 'world_model'

    def __init__(self, model: WorldModel) -> None:
        self.model = model
        self._task = model.task
        self._device = next(model.parameters()).device

    @property
    def state_size(self) -> int:
        return self.model.latent_size

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        """The state (1, Z) of a scene (S,) at rest. Raises HiwmError if it is not the task's."""
        values = self._task.check_scene(scene)
        with self._computing(1):
            return _rows(self.model.start(self._tensor(values[None])).pack())

    def encode(self, frames: FrameArray) -> FloatArray:
        """The states (B, Z) of the scenes at rest in frames uint8 (B, H, W, 3).

        Raises:
            HiwmError: The frames have another size than the task's camera gives.
        """
        if frames.shape[1:] != self._task.frame_shape:
            height, width, _ = self._task.frame_shape
            raise HiwmError(
                f'frames of shape {frames.shape} were given; '
                f"task '{self._task.name}' has frames of {height} x {width} x 3"
            )
        with self._computing(len(frames)):
            return _rows(self.model.start(self.model.encode(self._pixels(frames))).pack())

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        """The states (B, Z) one period later.

        Raises:
            HiwmError: The states are not this model's, or MODEL_FAULT: a prediction is not finite.
        """
        if states.shape[1:] != (self.state_size,):
            raise HiwmError(
                f'states of shape {states.shape} were given; this world model has states of '
                f'{self.state_size} numbers and continues only from its own'
            )
        with self._computing(len(states)):
            latent = self.model.unpack(self._tensor(states))
            after = _rows(self.model.step(latent, self._tensor(actions), keys).pack())
        if not np.isfinite(after).all():
            raise HiwmError(
                'the world model predicted a scene that is not finite; roll back or reset',
                ErrorCode.MODEL_FAULT,
            )
        return after

    def decode(self, states: FloatArray) -> FrameArray:
        """The frames uint8 (B, H, W, 3) of states (B, Z)."""
        with self._computing(len(states)):
            return self.model.decode(self.model.unpack(self._tensor(states)).shown).cpu().numpy()

    def heads(self, states: FloatArray, frames: FrameArray | None = None) -> Readings:
        """Scene, joints, progress, success and fidelity; the last is NaN without frames."""
        with self._computing(len(states)):
            latent = self.model.unpack(self._tensor(states))
            progress, success = self.model.heads(latent.shown)
            scene = _rows(latent.shown)
            fidelity = np.full(len(states), np.nan)
            if frames is not None:
                fidelity = _rows(self.model.fidelity(latent, self._pixels(frames)))
            return Readings(
                joints=np.stack([self._task.joints_of_scene(row) for row in scene]),
                scene=scene,
                progress=_rows(progress.clamp(0.0, 1.0)),
                success=_rows(success),
                fidelity=fidelity,
            )

    def _tensor(self, rows: FloatArray) -> Tensor:
        return torch.from_numpy(np.asarray(rows, dtype=np.float32)).to(self._device)

    def _pixels(self, frames: FrameArray) -> Tensor:
        return torch.from_numpy(np.require(frames, requirements=['C', 'W'])).to(self._device)

    @contextmanager
    def _computing(self, rows: int) -> Iterator[None]:
        """No gradients, and one sentence where the device has no memory for so many rows."""
        try:
            with torch.inference_mode():
                yield
        except (RuntimeError, MemoryError) as error:
            out_of_memory = isinstance(error, MemoryError | torch.OutOfMemoryError)
            if not (out_of_memory or CPU_OUT_OF_MEMORY in str(error)):
                raise
            raise HiwmError(
                f'there is no memory left on the device {self._device} for {rows} state(s); '
                'end what else uses it, or choose another device',
                ErrorCode.MODEL_FAULT,
            ) from error


def _rows(values: Tensor) -> FloatArray:
    return values.double().cpu().numpy()


def chosen_device(name: str) -> torch.device:
    """The device of that name: 'cpu', 'cuda', or 'auto', which is a GPU where there is one.

    Raises:
        ConfigurationError: A GPU is asked for and absent.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if name == 'cuda' and not torch.cuda.is_available():
        raise ConfigurationError(
            "the device 'cuda' was asked for, but torch finds no GPU here; "
            "use the device 'cpu' or 'auto', or install a driver and a torch with CUDA"
        )
    return torch.device(name)


def make_backend(task: Task, model: Path | None, device: str = 'auto') -> WorldModelBackend:
    """The entry point `world_model` of the group `hiwm.backends`. Raises ConfigurationError."""
    chosen = chosen_device(device)
    if model is None:
        raise ConfigurationError(
            'a world model needs weights; name the folder that holds them', ErrorCode.MODEL_FAULT
        )
    return WorldModelBackend(load_model(model, task, str(chosen)))
