# SPDX-License-Identifier: Apache-2.0
"""Training on several processes: one result, written once, that goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
import torch

from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_policy.acting import ActingData
from hiwm_policy.dataset import Frames, windows_of
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.ranks import ALONE, Ranks

Make = Callable[..., Frames]
Build = Callable[..., PolicyNetwork]


@pytest.mark.timeout(600)
def test_two_processes_end_with_the_same_weights(
    pusht: Task, demonstrations: Make, tmp_path: Path
) -> None:
    frames = demonstrations(pusht, episodes=6)
    stored = tmp_path / 'frames.npz'
    np.savez(stored, **{field.name: getattr(frames, field.name) for field in fields(Frames)})
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    command += ['--nproc-per-node', '2', str(Path(__file__).with_name('rank_training.py'))]
    done = subprocess.run(
        [*command, str(stored), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f'rank{number}.pt') for number in range(2)]
    assert ranks[0]['whole']['step'] == 4
    for name in ('whole', 'parts'):
        for key, value in ranks[0]['whole'].items():
            same = ranks[1][name][key]
            assert torch.equal(value, same) if torch.is_tensor(value) else value == same, key
    whole = tmp_path / 'whole'
    written = {'acting.checkpoint', 'reading.checkpoint', 'card.json', 'curves'}
    assert {path.name for path in whole.iterdir()} == written | {'model.safetensors'}
    assert len(list((whole / 'curves').iterdir())) == 2, 'one for each phase'
    assert json.loads((whole / 'card.json').read_text())['processes'] == 2
    parts = tmp_path / 'parts'
    weights = [(folder / 'model.safetensors').read_bytes() for folder in (whole, parts)]
    assert weights[0] == weights[1], 'what was interrupted goes on as if it had not been'


def test_every_window_belongs_to_one_rank(
    pusht: Task, demonstrations: Make, small_network: Build
) -> None:
    frames = demonstrations(pusht)
    windows = windows_of(frames, 2, 16, 8)
    network = small_network(pusht, framed=True)
    plain = ActingData(network, frames, windows)
    weighted = ActingData(network, frames, windows.weighted(np.linspace(1.0, 9.0, 39)))
    for data in (plain, weighted):
        drawn = [
            data.draw(20000, torch.Generator().manual_seed(rank), Ranks(rank, 3))
            for rank in range(3)
        ]
        shares = [set(each.tolist()) for each in drawn]
        assert set().union(*shares) == set(range(len(data)))
        # Where a share's border lies within a window's mass, both sides have it.
        assert sum(map(len, shares)) <= len(data) + 2
    counts = torch.bincount(torch.cat(drawn), minlength=len(weighted)).numpy() / 60000.0
    mass = windows.weighted(np.linspace(1.0, 9.0, 39)).weights
    assert mass is not None
    np.testing.assert_allclose(counts, mass / mass.sum(), rtol=0.2)


def test_one_process_is_as_without_ranks(
    pusht: Task, demonstrations: Make, small_network: Build
) -> None:
    assert (ALONE.first, ALONE.seed(7), ALONE.share(12)) == (True, 7, (0.0, 12.0))
    assert ALONE.average([torch.ones(2)], [3.0]) == [3.0]
    seeds = {Ranks(rank, 8).seed(7) for rank in range(8)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_fewer_samples_than_processes_are_refused() -> None:
    ALONE.check(1, 'windows')
    with pytest.raises(ConfigurationError, match='3 windows cannot be shared by 4 processes'):
        Ranks(0, 4).check(3, 'windows')
