# SPDX-License-Identifier: Apache-2.0
"""Measures the world model's speed: a tick, a full-pixel network beside it, the node, batches.

- Tick: step, decode, heads and fidelity of one state by the network alone, at 1 and 2 threads
  (`--threads`).
- Reference: the U-Net of `bench.full_pixel_unet` for the same frame, by 1 and by 3 calls of the
  network, in float32 (as the world model) and in bfloat16. It has no heads; nothing is added.
- Node: see `bench.served_model`.
- Batches: branch steps per second through the backend, B branches in lockstep.

What is compared is measured in turns in one run, so that a busy machine slows both sides; ratios
are of medians. The state moves under commands that change every second over the whole range of the
task's actions.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bench.full_pixel_unet import CONTEXT, FullPixelWorldModel
from bench.result import Bar, machine, percentiles, print_bars, write_result
from bench.served_model import measure_node
from hiwm_core.task import Task, load_task
from hiwm_world_model.backend import WorldModelBackend
from hiwm_world_model.model import WorldModel
from hiwm_world_model.weights import load_model

MODELS = Path(__file__).parents[1] / 'src' / 'hiwm_bringup' / 'models'
TICKS = 25  # of the world model in a round
# A machine that is busy may take minutes for what a quiet one does in one.
LONGEST = 240.0  # s, after which no further round begins
BATCHES = (1, 8, 64)
PRECISIONS = {'float32': False, 'bfloat16': True}
NETWORK_CALLS = (1, 3)


def commands(task: Task, seed: int) -> Iterator[np.ndarray]:
    """Endless actions (A,), a new one every second."""
    rng = np.random.default_rng(seed)
    low = np.array([action.low for action in task.actions])
    high = np.array([action.high for action in task.actions])
    while True:
        action = rng.uniform(low, high)
        for _ in range(round(task.rate)):
            yield action


class Rollout:
    """The bare network, one tick after another.

    Args:
        model: Frozen.
        seed: Of the start and the commands.

    Attributes:
        seconds: Durations of each part of every tick so far.
    """

    def __init__(self, model: WorldModel, seed: int) -> None:
        self.model = model
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._actions = commands(model.task, seed)
        self._key = seed
        self._latent = model.start(_row(model.task.start_scene(seed)))

    @torch.inference_mode()
    def tick(self) -> float:
        """One step, its frame and its readings; returns how long all took, s."""
        model, action = self.model, _row(next(self._actions))
        self._key += 1
        times = [time.perf_counter()]
        self._latent = model.step(self._latent, action, [self._key])
        times.append(time.perf_counter())
        frames = model.decode(self._latent.shown)
        times.append(time.perf_counter())
        model.heads(self._latent.shown)
        times.append(time.perf_counter())
        model.fidelity(self._latent, frames)
        times.append(time.perf_counter())
        for name, seconds in zip(PARTS, np.diff(times), strict=True):
            self.seconds[name].append(float(seconds))
        return times[-1] - times[0]

    def total(self) -> np.ndarray:
        """s, each whole tick so far."""
        return np.sum([self.seconds[name] for name in PARTS], axis=0)

    def forget(self) -> None:
        """Begin the record anew; what came before was to warm up."""
        self.seconds.clear()


PARTS = ('step', 'decode', 'heads', 'fidelity')


def _row(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]


class Reference:
    """Frames of the full-pixel network for one task."""

    def __init__(self, task: Task, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        height, width, _ = task.frame_shape
        shape = (1, CONTEXT, *task.frame_shape)
        self.network = FullPixelWorldModel(len(task.actions), seed)
        self._frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        self._actions = torch.rand(1, CONTEXT, len(task.actions), generator=generator)
        self._noise = torch.randn(1, 3, height, width, generator=generator)

    @torch.inference_mode()
    def frame(self, calls: int, *, bfloat16: bool) -> float:
        """Compute one frame; returns how long it took, s."""
        began = time.perf_counter()
        with torch.autocast('cpu', torch.bfloat16, enabled=bfloat16):
            self.network.sample(self._frames, self._actions, self._noise, calls)
        return time.perf_counter() - began


def measure_networks(
    model: WorldModel, threads: Sequence[int], rounds: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ticks of the world model and frames of the reference in turns, at each number of threads."""
    reference = Reference(model.task, seed)
    rollouts = {count: Rollout(model, seed) for count in threads}
    frames: dict[tuple[int, str, int], list[float]] = defaultdict(list)
    rng = np.random.default_rng(seed)
    deadline = time.monotonic() + LONGEST
    for _ in tqdm(range(rounds), desc='networks', unit='round'):
        if time.monotonic() > deadline:
            break
        for count in rng.permutation(threads).tolist():
            rollout = rollouts[count]
            torch.set_num_threads(count)
            ticks = len(rollout.seconds['step'])
            for _ in range(TICKS):
                rollout.tick()
            _drop_first(rollout, ticks)
            for precision, bfloat16 in PRECISIONS.items():
                reference.frame(1, bfloat16=bfloat16)  # threads begin, layouts are chosen
                for calls in NETWORK_CALLS:
                    seconds = reference.frame(calls, bfloat16=bfloat16)
                    frames[count, precision, calls].append(seconds)
    torch.set_num_threads(1)
    tick = {str(count): _tick_figures(rollout) for count, rollout in rollouts.items()}
    unet: dict[str, Any] = {'parameters': reference.network.size, 'weights': 'random'}
    for count in threads:
        middle = tick[str(count)]['ms']['p50']
        unet[str(count)] = {
            f'{precision}, {calls} network call{"s" * (calls > 1)}': {
                'ms': (figures := percentiles(frames[count, precision, calls])),
                'times_a_tick': round(figures['p50'] / middle, 2),
                'frames': len(frames[count, precision, calls]),
            }
            for precision in PRECISIONS
            for calls in NETWORK_CALLS
        }
    return tick, unet


def _drop_first(rollout: Rollout, at: int) -> None:
    """The first tick after another number of threads was set starts them."""
    for values in rollout.seconds.values():
        del values[at]


def _tick_figures(rollout: Rollout) -> dict[str, Any]:
    middles = {name: float(np.median(rollout.seconds[name])) for name in PARTS}
    whole = sum(middles.values())
    return {
        'ms': percentiles(rollout.total()),
        'parts_p50_ms': {name: round(value * 1e3, 3) for name, value in middles.items()},
        'shares': {name: round(value / whole, 3) for name, value in middles.items()},
        'ticks': len(rollout.seconds['step']),
    }


def measure_batches(backend: WorldModelBackend, rounds: int, seed: int) -> dict[str, Any]:
    """Branch steps per second, each size in turn."""
    task = backend.model.task
    actions = commands(task, seed)
    states = {
        size: np.repeat(backend.start(task.start_scene(seed), seed), size, axis=0)
        for size in BATCHES
    }
    seconds: dict[tuple[int, str], list[float]] = defaultdict(list)
    for number in tqdm(range(rounds), desc='batches', unit='round'):
        for size in BATCHES:
            batch = np.stack([next(actions) for _ in range(size)])
            keys = list(range(number * size, (number + 1) * size))
            began = time.perf_counter()
            states[size] = backend.step(states[size], batch, keys)
            stepped = time.perf_counter()
            backend.decode(states[size])
            seconds[size, 'step'].append(stepped - began)
            seconds[size, 'step and decode'].append(time.perf_counter() - began)
    result: dict[str, Any] = {}
    for name in ('step', 'step and decode'):
        rates = {size: size / float(np.median(seconds[size, name])) for size in BATCHES}
        result[name] = {
            str(size): {
                'branch_steps_per_s': round(rate, 1),
                'times_one_branch': round(rate / rates[BATCHES[0]], 2),
            }
            for size, rate in rates.items()
        }
    return result


def bars_of(result: Mapping[str, Any]) -> list[Bar]:
    """What must hold."""
    bars = []
    for threads in result['tick']:
        ratios = result['full_pixel_unet'][threads]
        for precision in PRECISIONS:
            ratio = ratios[f'{precision}, 1 network call']['times_a_tick']
            name = f'faster than the {precision} full-pixel U-Net, threads: {threads}'
            bars.append(Bar(name, ratio, 5.0, 'x', at_least=True))
    overhead = 100 * result['node']['overhead']
    bars.append(Bar("the node's overhead above the bare network", overhead, 15.0, '%'))
    return bars


def print_result(result: Mapping[str, Any]) -> None:
    """The table that a person reads."""
    for threads, tick in result['tick'].items():
        parts = ', '.join(
            f'{name} {value:.2f} ({tick["shares"][name]:.0%})'
            for name, value in tick['parts_p50_ms'].items()
        )
        print(f'tick, threads: {threads}: p50 {tick["ms"]["p50"]:.2f} ms, ', end='')
        print(f'p99 {tick["ms"]["p99"]:.2f} ms; {parts}')
    unet = result['full_pixel_unet']
    print(f'full-pixel U-Net, {unet["parameters"]:,} parameters:')
    for threads in result['tick']:
        for name, figures in unet[threads].items():
            middle, times = figures['ms']['p50'], figures['times_a_tick']
            print(f'  threads: {threads}, {name}: p50 {middle:.1f} ms, {times:.1f} ticks')
    node = result['node']
    for name in ('bare', 'backend', 'compute', 'answer', 'round_trip', 'transport'):
        print(f'node, {name}: p50 {node[f"{name}_ms"]["p50"]:.2f} ms')
    print(f'node, resident after {node["steps"]} steps: {node["resident_mb"]:.0f} MB')
    for name, sizes in result['batch'].items():
        rates = ', '.join(
            f'B={size} {figures["branch_steps_per_s"]:.0f}/s (x{figures["times_one_branch"]})'
            for size, figures in sizes.items()
        )
        print(f'{name}: {rates}')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--task', default='pusht', help='which task')
    parser.add_argument('--model', type=Path, help='folder of the weights; default: the shipped')
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2], help='of the networks')
    parser.add_argument('--rounds', type=int, default=20, help='turns between the networks')
    parser.add_argument('--steps', type=int, default=600, help='steps of the node')
    parser.add_argument('--seed', type=int, default=0, help='of starts, commands and weights')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    folder = arguments.model or MODELS / arguments.task / 'world_model'
    torch.set_num_threads(1)
    task = load_task(arguments.task)
    model = load_model(folder, task)
    before = machine()
    rollout = Rollout(model, arguments.seed)
    backend = WorldModelBackend(model)
    result: dict[str, Any] = {'task': task.name, 'seed': arguments.seed}
    result['node'] = measure_node(
        backend, folder, rollout.tick, commands(task, arguments.seed), arguments.steps
    )
    result['tick'], result['full_pixel_unet'] = measure_networks(
        model, arguments.threads, arguments.rounds, arguments.seed
    )
    result['batch'] = measure_batches(backend, 5 * arguments.rounds, arguments.seed)
    bars = bars_of(result)
    result['bars'] = [bar.as_dict() for bar in bars]
    result['machine'] = {
        **before,
        'torch': torch.__version__,
        'load_average_after': machine()['load_average'],
    }
    print_result(result)
    print_bars(bars)
    if arguments.json:
        write_result(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
