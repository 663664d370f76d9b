# SPDX-License-Identifier: Apache-2.0
"""What `test_ranks` runs on every rank: a training, and one that is interrupted and goes on.

torchrun --nproc-per-node 2 rank_training.py FRAMES OUT
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hiwm_policy import phase, train
from hiwm_policy.dataset import Frames
from hiwm_policy.phase import Phase
from hiwm_policy.ranks import joined_ranks
from hiwm_policy.size import DiffusionSize

STEPS, INTERRUPTED = 4, 2
SIZE = DiffusionSize(framed=True, free_keypoints=4, width=32, depth=1, condition=16)


def main() -> None:
    stored, out = Path(sys.argv[1]), Path(sys.argv[2])
    with np.load(stored) as arrays:
        frames = Frames(**arrays)
    train.read_demos = lambda *_: frames
    train.measure = lambda *_, **__: {}
    phases: list[Phase] = []
    learn, run = train.train_acting, Phase.run

    def keep(*given: Any, **options: Any) -> Phase:
        phases.append(learn(*given, **options))
        return phases[-1]

    def interrupted(self: Phase, loss: Callable[[torch.Generator], Tensor]) -> None:
        def stops(generator: torch.Generator) -> Tensor:
            if self.step == INTERRUPTED:
                raise KeyboardInterrupt
            return loss(generator)

        run(self, stops)

    def once(name: str) -> dict[str, Any] | None:
        options = ['--data', 'demos', '--out', str(out / name), '--device', 'cpu']
        return train.train(
            train.arguments([*options, '--steps', str(STEPS), '--reading-steps', '1']), SIZE
        )

    train.train_acting = keep
    with joined_ranks(torch.device('cpu')) as ranks:
        # A process joins once; the trainings here follow each other in it.
        train.joined_ranks = lambda _: nullcontext(ranks)
        gradient = torch.full((2, 3), 1.0 + ranks.rank)
        numbers = ranks.average([gradient], [10.0 * ranks.rank])
        assert (gradient == 1.5).all()
        assert numbers == [5.0]
        whole = once('whole')
        assert (whole is not None) == ranks.first

        phase.CHECKPOINT_SECONDS = -1.0
        Phase.run = interrupted  # type: ignore[method-assign]
        try:
            once('parts')
        except KeyboardInterrupt:
            Phase.run = run  # type: ignore[method-assign]
        once('parts')
    torch.save(
        {
            name: each.averaged.state_dict() | {'loss': each.loss, 'step': each.step}
            for name, each in zip(('whole', 'parts'), phases, strict=True)
        },
        out / f'rank{ranks.rank}.pt',
    )


if __name__ == '__main__':
    main()
