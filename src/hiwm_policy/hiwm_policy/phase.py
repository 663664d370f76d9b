# SPDX-License-Identifier: Apache-2.0
"""One phase of training: the loop that every phase shares, with its checkpoint.

A phase is interrupted at any time and goes on from its last checkpoint; what follows is what would
have followed, since the optimizer, the averaged weights and the generators are in it too. With
several ranks each has a generator of its own, and the first rank stores all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import hashlib
import math
import os
from pathlib import Path
import time

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hiwm_policy.ranks import ALONE, Ranks

WARM_UP = 100
AVERAGE = 0.999
LARGEST_GRADIENT = 1.0
CHECKPOINT_SECONDS = 60.0
CURVE_STEPS = 50


class Phase:
    """Trains a module for a number of steps.

    Args:
        name: Names the checkpoint, the progress bar and the curves.
        module: What is trained, on its device.
        steps: How many steps there will be.
        rate: The highest learning rate; it rises over WARM_UP steps and falls as a cosine.
        seed: Of the generator that `loss` is given.
        folder: Where the checkpoint and the curves go.
        data: Tells what is learned from; a checkpoint of anything else is not gone on from, nor is
            one that began with other weights.
        ranks: Which of the processes that train together this is.

    Attributes:
        step: Steps taken.
        seconds: Wall time that they took.
        loss: Moving average of the training loss; NaN before the first step.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        *,
        steps: int,
        rate: float,
        seed: int,
        folder: Path,
        data: str,
        ranks: Ranks = ALONE,
    ) -> None:
        self.name, self.steps, self.step = name, steps, 0
        self.seconds, self.loss = 0.0, math.nan
        self._module, self._rate, self._folder = module, rate, folder
        self._ranks = ranks
        # Before the identity: either all ranks go on or none.
        ranks.equalize(module)
        self._identity = f'{data} seed {seed} steps {steps} rate {rate} begun {weights_of(module)}'
        if ranks.count > 1:
            self._identity += f' ranks {ranks.count}'
        self._generator = torch.Generator().manual_seed(ranks.seed(seed))
        self._average = AveragedModel(module, multi_avg_fn=_toward, use_buffers=True)
        self._optimizer = torch.optim.AdamW(
            module.parameters(), rate, weight_decay=1e-4, fused=True
        )
        self._path = folder / f'{name}.checkpoint'
        self._resume()

    @property
    def averaged(self) -> nn.Module:
        """The module with the moving average of the weights."""
        return self._average.module

    def run(self, loss: Callable[[torch.Generator], Tensor]) -> None:
        """Train to the end; `loss` draws a batch with the generator that it is given."""
        device = next(self._module.parameters()).device
        mixed = device.type == 'cuda' or bool(torch.cpu.get_capabilities().get('avx512_bf16'))
        first = self._ranks.first
        curves = (
            SummaryWriter(str(self._folder / 'curves'), purge_step=self.step) if first else None
        )
        started = stored = time.monotonic()
        self._module.train()
        with tqdm(
            total=self.steps, initial=self.step, desc=self.name, unit='step', disable=not first
        ) as bar:
            while self.step < self.steps:
                for group in self._optimizer.param_groups:
                    group['lr'] = self._rate * schedule(self.step, self.steps)
                with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
                    value = loss(self._generator)
                self._optimizer.zero_grad(set_to_none=True)
                value.backward()
                # Storing takes every rank, and only the first one's clock says when.
                due = time.monotonic() - stored > CHECKPOINT_SECONDS if first else False
                mean, someone_stores = self._ranks.average(
                    [
                        parameter.grad
                        for parameter in self._module.parameters()
                        if parameter.grad is not None
                    ],
                    [float(value.detach()), float(due)],
                )
                nn.utils.clip_grad_norm_(self._module.parameters(), LARGEST_GRADIENT)
                self._optimizer.step()
                self._average.update_parameters(self._module)
                self.step += 1
                self._follow(mean)
                bar.update()
                if curves is not None and self.step % CURVE_STEPS == 0:
                    curves.add_scalar(f'{self.name}/loss', self.loss, self.step)
                    bar.set_postfix_str(f'loss {self.loss:.5f}')
                if someone_stores:
                    now = time.monotonic()
                    self.seconds, started, stored = self.seconds + now - started, now, now
                    self._store()
        self.seconds += time.monotonic() - started
        self._store()
        if curves is not None:
            curves.close()

    def _follow(self, loss: float) -> None:
        """A moving average over about a hundred steps."""
        self.loss = loss if math.isnan(self.loss) else self.loss + 0.01 * (loss - self.loss)

    def _store(self) -> None:
        generators = self._ranks.gather(self._generator.get_state())
        if not self._ranks.first:
            return
        part = self._path.with_suffix(f'.{os.getpid()}')
        torch.save(
            {
                'identity': self._identity,
                'step': self.step,
                'seconds': self.seconds,
                'loss': self.loss,
                'module': self._module.state_dict(),
                'average': self._average.state_dict(),
                'optimizer': self._optimizer.state_dict(),
                'generator': generators[0],
                'other_generators': generators[1:],
            },
            part,
        )
        part.replace(self._path)

    def _resume(self) -> None:
        if not self._path.is_file():
            return
        saved = torch.load(self._path, map_location='cpu', weights_only=True)
        if saved.get('identity') != self._identity:
            if self._ranks.rank == 0:
                tqdm.write(f'{self._path} is of another training; this one begins anew')
            return
        self._module.load_state_dict(saved['module'])
        self._average.load_state_dict(saved['average'])
        self._optimizer.load_state_dict(saved['optimizer'])
        states = [saved['generator'], *saved.get('other_generators', ())]
        self._generator.set_state(states[self._ranks.rank])
        self.step, self.seconds, self.loss = saved['step'], saved['seconds'], saved['loss']


def weights_of(module: nn.Module) -> str:
    """SHA-256 of a module's weights, with their names and shapes."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f'{name} {tuple(value.shape)} '.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def schedule(step: int, steps: int) -> float:
    """The share of the highest learning rate at a step."""
    return min(1.0, (step + 1) / WARM_UP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


@torch.no_grad()
def _toward(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
    """The moving average, shorter at the beginning, so that it forgets the random start."""
    steps = float(count)
    weight = 1.0 - min(AVERAGE, (1.0 + steps) / (10.0 + steps))
    for average, value in zip(averages, values, strict=True):
        if average.is_floating_point():
            average.lerp_(value, weight)
        else:
            average.copy_(value)
