# SPDX-License-Identifier: Apache-2.0
"""Training on several processes, one for each GPU, as `torchrun` starts them.

    torchrun --nproc-per-node N -m hiwm_policy.train ...

Every rank has its own share of the data and draws whole batches from it, so that a step learns from
N batches; gradients are averaged (gloo on a CPU, nccl on GPUs). What a process writes, the first
rank writes alone. Without `torchrun` there is one rank, and nothing here costs anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
import os

import torch
from torch import Tensor, distributed, nn

from hiwm_core.error import ConfigurationError

# Others wait while the first rank reads bags or measures.
LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class Ranks:
    """Which process of a training this is.

    Attributes:
        rank: From 0.
        count: Of all processes.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes."""
        return self.rank == 0

    def share(self, total: float) -> tuple[float, float]:
        """Where this rank's part of a range from 0 to `total` begins, and how long it is."""
        return total * self.rank / self.count, total / self.count

    def check(self, samples: int, what: str) -> None:
        """Raises ConfigurationError if there is not a sample for each rank; `what` names them."""
        if samples < self.count:
            raise ConfigurationError(
                f'{samples} {what} cannot be shared by {self.count} processes; start fewer'
            )

    def seed(self, seed: int) -> int:
        """A seed of this rank's own; the first rank's is the given one."""
        return (seed + self.rank * 0x9E3779B97F4A7C15) % 2**63

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """The first rank runs the block before all others begin it: what it stores, they find."""
        if self.count > 1 and not self.first:
            distributed.barrier()
        yield
        if self.count > 1 and self.first:
            distributed.barrier()

    def equalize(self, module: nn.Module) -> None:
        """Give all ranks the first one's weights."""
        if self.count > 1:
            with torch.no_grad():
                for value in module.state_dict().values():
                    # What is laid out in another order of its dimensions cannot be sent as it is.
                    sent = value.contiguous()
                    distributed.broadcast(sent, 0)
                    value.copy_(sent)

    def average(self, gradients: Iterable[Tensor], beside: Iterable[float]) -> list[float]:
        """Average gradients over all ranks, in place, and numbers beside them, which are returned.

        One message for all of them: what is small costs as much as what is large.
        """
        numbers = list(beside)
        if self.count == 1:
            return numbers
        parts = list(gradients)
        device = parts[0].device if parts else torch.device('cpu')
        flat = torch.cat([*(part.flatten() for part in parts), torch.tensor(numbers).to(device)])
        distributed.all_reduce(flat)
        flat /= self.count
        first = 0
        for part in parts:
            part.copy_(flat[first : first + part.numel()].view_as(part))
            first += part.numel()
        averaged: list[float] = flat[first:].tolist()
        return averaged

    def gather(self, value: Tensor) -> list[Tensor]:
        """The uint8 tensors of all ranks, which have one shape, on the CPU."""
        if self.count == 1:
            return [value]
        # nccl carries nothing that is not on a GPU.
        nccl = distributed.get_backend() == 'nccl'
        mine = value.cuda() if nccl else value
        all_of_them = [torch.empty_like(mine) for _ in range(self.count)]
        distributed.all_gather(all_of_them, mine)
        return [each.cpu() for each in all_of_them]


ALONE = Ranks()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The ranks that `torchrun` has started, which part at the end; ALONE without it.

    Args:
        device: Where this rank trains.
    """
    if not distributed.is_torchelastic_launched():
        yield ALONE
        return
    backend = 'nccl' if device.type == 'cuda' else 'gloo'
    distributed.init_process_group(backend, timeout=LONGEST_WAIT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def local_rank() -> int:
    """Which GPU of this machine is this process's."""
    return int(os.environ.get('LOCAL_RANK', '0'))
