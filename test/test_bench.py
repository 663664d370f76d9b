# SPDX-License-Identifier: Apache-2.0
"""The measurements themselves: a tiny run end to end, and what their figures are made of."""

from __future__ import annotations

import json
import math
from pathlib import Path
import subprocess
import sys

from bench.full_pixel_unet import CONTEXT, FullPixelWorldModel, noise_levels
from bench.result import Bar, percentiles
import pytest
import torch


def test_a_tiny_run_measures_everything(tmp_path: Path) -> None:
    path = tmp_path / 'world_model.json'
    command = [sys.executable, '-m', 'bench.world_model', '--json', str(path), '--seed', '3']
    command += ['--threads', '1', '--rounds', '1', '--steps', '20']
    run = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    result = json.loads(path.read_text())
    assert result['seed'] == 3
    tick = result['tick']['1']
    assert sum(tick['shares'].values()) == pytest.approx(1.0, abs=0.01)
    assert 0.0 < tick['ms']['p50'] <= tick['ms']['p99'] <= tick['ms']['max']
    for figures in result['full_pixel_unet']['1'].values():
        ratio = figures['ms']['p50'] / tick['ms']['p50']
        assert figures['times_a_tick'] == pytest.approx(ratio, abs=0.01)
    node = result['node']
    added = node['answer_ms']['p50'] / node['bare_ms']['p50'] - 1.0
    assert node['overhead'] == pytest.approx(added, abs=1e-3)
    # An answer contains the backend's work.
    assert node['compute_ms']['p50'] < node['answer_ms']['p99']
    assert node['resident_mb'] > 50
    for sizes in result['batch'].values():
        assert set(sizes) == {'1', '8', '64'}
        assert sizes['1']['times_one_branch'] == 1.0
    for bar in result['bars']:
        assert f'{"PASS" if bar["holds"] else "MISS"}  {bar["name"]}' in run.stdout


def test_a_bar_is_held_on_its_own_side_only() -> None:
    assert Bar('time', 14.9, 15.0, 'ms').holds
    assert not Bar('time', 15.0, 15.0, 'ms').holds
    assert Bar('speed', 5.0, 5.0, 'x', at_least=True).holds
    assert not Bar('speed', 4.9, 5.0, 'x', at_least=True).holds
    assert not Bar('time', math.nan, 15.0, 'ms').holds
    assert not Bar('speed', math.inf, 5.0, 'x', at_least=True).holds


def test_percentiles_are_in_milliseconds() -> None:
    figures = percentiles([0.001 * number for number in range(101)])
    assert figures == {'p50': 50.0, 'p99': 99.0, 'max': 100.0}


def test_the_reference_has_the_size_of_the_published_network() -> None:
    # "Diffusion for World Modeling" gives its diffusion model 4.4 million parameters.
    assert round(FullPixelWorldModel(actions=2).size / 1e6, 1) == 4.4


@pytest.mark.parametrize('calls', [1, 3])
def test_the_reference_computes_whole_frames(calls: int) -> None:
    network = FullPixelWorldModel(actions=2, seed=1)
    generator = torch.Generator().manual_seed(0)
    shape = (2, CONTEXT, 32, 48, 3)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    actions = torch.rand(2, CONTEXT, 2, generator=generator)
    noise = torch.randn(2, 3, 32, 48, generator=generator)
    with torch.inference_mode():
        seen = network.sample(frames, actions, noise, calls)
        assert seen.dtype == torch.uint8
        assert seen.shape == (2, 32, 48, 3)
        assert torch.equal(seen, network.sample(frames, actions, noise, calls))
        # Every part of the past, and the noise, goes into the frame.
        moved = actions.clone()
        moved[:, 0] += 5.0
        assert not torch.equal(seen, network.sample(frames, moved, noise, calls))
        older = frames.clone()
        older[:, 0] = 255 - older[:, 0]
        assert not torch.equal(seen, network.sample(older, actions, noise, calls))
        assert not torch.equal(seen, network.sample(frames, actions, noise.flip(2), calls))


def test_noise_falls_as_in_edm() -> None:
    levels = noise_levels(3)
    assert levels[0] == pytest.approx(5.0)
    assert levels[-1] == pytest.approx(2e-3)
    middle = ((5.0 ** (1 / 7) + 2e-3 ** (1 / 7)) / 2) ** 7
    assert levels[1] == pytest.approx(middle)
    assert noise_levels(1) == [pytest.approx(5.0)]
