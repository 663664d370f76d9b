# SPDX-License-Identifier: Apache-2.0
"""The loop of every training stage: seeded by step, saved as it goes, resumed to the same end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import math
from pathlib import Path
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hiwm_core.error import ConfigurationError

STATE_NAME = 'training.pt'
SAVE_SECONDS = 30.0
AVERAGE_DECAY = 0.995
WARM_STEPS = 100


class Fit:
    """Stages that train parts of one model, and what of them is done.

    Args:
        model: Whose weights are kept.
        folder: Where the state and the TensorBoard log are written.
        seed: Of every draw.
        identity: Text that a state must share to be resumed from.

    Raises:
        ConfigurationError: The folder holds the state of a training with another identity.
    """

    def __init__(self, model: nn.Module, folder: Path, seed: int, identity: str) -> None:
        self.model = model
        self.seconds: dict[str, float] = {}
        self.losses: dict[str, float] = {}
        self._folder, self._seed, self._identity = folder, seed, identity
        self._partial: dict[str, Any] = {}
        self._resume()
        self._log = SummaryWriter(str(folder / 'log'))

    def untouched(self, stage: str) -> bool:
        """Whether nothing of a stage has been done yet."""
        return stage not in self.seconds and self._partial.get('stage') != stage

    def generator(self, stage: str, step: int) -> np.random.Generator:
        """The random numbers of a step."""
        return np.random.default_rng([self._seed, *stage.encode(), step])

    def run(
        self,
        stage: str,
        parameters: Iterable[torch.nn.Parameter],
        steps: int,
        rate: float,
        loss_of: Callable[[int, np.random.Generator], Tensor],
    ) -> None:
        """Minimise with Adam and a cosine schedule; the average of the weights is what stays.

        Args:
            stage: Its name; nothing happens if it is done.
            parameters: What is trained.
            steps: How many steps in all.
            rate: The largest learning rate.
            loss_of: The loss of a step, drawn from a generator that depends on the step alone.
        """
        if stage in self.seconds:
            return
        parameters = list(parameters)
        optimizer = torch.optim.Adam(parameters, lr=rate)
        average = [parameter.detach().clone() for parameter in parameters]
        first, spent, smooth = 0, 0.0, math.nan
        if self._partial.get('stage') == stage:
            first, spent = self._partial['step'], self._partial['seconds']
            optimizer.load_state_dict(self._partial['optimizer'])
            # The state was read to the CPU; the optimizer moves its own part.
            average = [
                mean.to(parameter.device)
                for mean, parameter in zip(self._partial['average'], parameters, strict=True)
            ]
            smooth = self._partial['smooth']
        began = saved = time.monotonic()
        bar = tqdm(range(first, steps), initial=first, total=steps, desc=stage, unit='step')

        def keep(step: int) -> None:
            self._partial = {
                'stage': stage,
                'step': step,
                'seconds': spent + time.monotonic() - began,
                'optimizer': optimizer.state_dict(),
                'average': average,
                'smooth': smooth,
            }
            self._save()

        for step in bar:
            warm = min(1.0, (step + 1) / WARM_STEPS)
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / steps))
            for group in optimizer.param_groups:
                group['lr'] = rate * warm * (0.01 + 0.99 * cosine)
            loss = loss_of(step, self.generator(stage, step))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, parameter in zip(average, parameters, strict=True):
                    mean.lerp_(parameter, 1.0 - decay)
            value = float(loss.detach())
            smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
            if step % 20 == 0:
                bar.set_postfix(loss=f'{smooth:.4g}')
                self._log.add_scalar(f'loss/{stage}', value, step)
            if time.monotonic() - saved > SAVE_SECONDS:
                keep(step + 1)
                saved = time.monotonic()
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
        self.losses[stage] = smooth
        self.finish(stage, spent + time.monotonic() - began)

    def finish(self, stage: str, seconds: float) -> None:
        """Note that a stage is done."""
        self.seconds[stage] = seconds
        self._partial = {}
        self._save()

    def _save(self) -> None:
        path = self._folder / STATE_NAME
        part = path.with_name(f'.{STATE_NAME}.part')
        torch.save(
            {
                'identity': self._identity,
                'model': self.model.state_dict(),
                'seconds': self.seconds,
                'losses': self.losses,
                'partial': self._partial,
            },
            part,
        )
        part.replace(path)

    def _resume(self) -> None:
        path = self._folder / STATE_NAME
        if not path.is_file():
            return
        state = torch.load(path, map_location='cpu', weights_only=True)
        if state['identity'] != self._identity:
            raise ConfigurationError(
                f'{path} is of a training with other settings, data or code; '
                'remove it or choose another folder'
            )
        self.model.load_state_dict(state['model'])
        self.seconds, self.losses = state['seconds'], state['losses']
        self._partial = state['partial']
