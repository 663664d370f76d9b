# SPDX-License-Identifier: Apache-2.0
"""Measures policies: closed-loop evaluation in the world model, and what a chunk takes.

    python3 -m bench.policy [--policy WHICH ...] [--json PATH]

- Lockstep: episodes of the first policy in the world model as `evaluate` runs them, B of them in
  one pass, for two chunks each, on one thread. A frame is one step of one episode; only those at
  which the policy looks are drawn.
- Chunks: each policy's next actions from one history, on one thread. Without `--policy` these are
  the shipped policy and every other backbone in its usual size with random weights, which is right
  for a measure of time and for nothing else.

All are measured in turns in one run, so that a busy machine slows them alike; rates and ratios are
of medians. Reading sessions into batches is measured by `bench.episodes`.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.result import Bar, machine, percentiles, print_bars, write_result
from hiwm_core.backend import Backend, observe
from hiwm_core.error import HiwmError
from hiwm_core.extension import load_backend, open_policy
from hiwm_core.observation import Observation
from hiwm_core.policy import ClosingPolicy, Policy
from hiwm_core.task import Task, load_task
from hiwm_policy.backbone import BACKBONES
from hiwm_policy.frame import body_frame
from hiwm_policy.lockstep import run_attempts
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.policy import NetworkPolicy

MODELS = Path(__file__).parents[1] / 'src' / 'hiwm_bringup' / 'models'
BATCHES = (1, 16, 64)
CHUNKS_AN_EPISODE = 2
CHUNKS_A_ROUND = 5


def policies_of(task: Task, named: Sequence[str], seed: int) -> dict[str, Policy]:
    """Those that are named; without a name the shipped one and the other backbones, untrained.

    Raises:
        HiwmError: One of them cannot be used.
    """
    if named:
        return {which: open_policy(task, which) for which in named}
    shipped = open_policy(task, str(MODELS / task.name / 'policy'))
    found: dict[str, Policy] = {f'{shipped.name}, shipped': shipped}
    for name, backbone in BACKBONES.items():
        if name != shipped.name:
            torch.manual_seed(seed)
            network = PolicyNetwork(task, backbone.size(framed=body_frame(task) is not None))
            found[f'{name}, random weights'] = NetworkPolicy(task, network)
    return found


def measure_lockstep(
    task: Task, backend: Backend, policy: Policy, rounds: int, seed: int
) -> dict[str, Any]:
    """Frames per second at each size of a batch, each in turn."""
    steps = CHUNKS_AN_EPISODE * policy.chunk_steps
    rates: dict[int, list[float]] = defaultdict(list)
    for number in tqdm(range(rounds + 1), desc='lockstep', unit='round'):
        for size in BATCHES:
            first = seed + number * BATCHES[-1]
            began = time.perf_counter()
            attempts = run_attempts(
                task,
                backend,
                policy,
                range(first, first + size),
                stop=lambda attempt: attempt.steps >= steps,
            )
            seconds = time.perf_counter() - began
            # The first round lets torch choose its layouts.
            if number and (frames := sum(attempt.steps for attempt in attempts)):
                rates[size].append(frames / seconds)
    middle = {size: float(np.median(values)) for size, values in rates.items()}
    return {
        'policy': policy.name,
        'steps_an_episode': steps,
        **{
            str(size): {
                'frames_per_s': round(rate, 1),
                'times_one_episode': round(rate / middle[BATCHES[0]], 2),
                'rounds': len(rates[size]),
            }
            for size, rate in middle.items()
        },
    }


def measure_chunks(
    task: Task, backend: Backend, policies: Mapping[str, Policy], rounds: int, seed: int
) -> dict[str, Any]:
    """What a chunk of each policy takes, each in turn."""
    histories = _histories(task, backend, seed)
    seconds: dict[str, list[float]] = defaultdict(list)
    for number in tqdm(range(rounds + 1), desc='chunks', unit='round'):
        for name, policy in policies.items():
            for place in range(CHUNKS_A_ROUND):
                key = number * CHUNKS_A_ROUND + place
                history = histories[key % len(histories)][-policy.context :]
                began = time.perf_counter()
                policy.chunk(history, key)
                if number:
                    seconds[name].append(time.perf_counter() - began)
    return {
        name: {
            'ms': percentiles(seconds[name]),
            'executed_steps': policy.chunk_steps,
            'chunks': len(seconds[name]),
        }
        for name, policy in policies.items()
    }


def _histories(task: Task, backend: Backend, seed: int) -> list[list[Observation]]:
    """What is seen at some starts, and after one step from each."""
    histories = []
    for number in range(seed, seed + 8):
        states = backend.start(task.start_scene(number), number)
        before = observe(backend, states)
        toward = (task.action_low + task.action_high)[None] / 2.0
        after = observe(backend, backend.step(states, toward, [number]))
        histories.append([*before, *after])
    return histories


def bars_of(task: Task, result: Mapping[str, Any]) -> list[Bar]:
    """A chunk must be there before the next step is due."""
    return [
        Bar(f'a chunk of {name}, p99', figures['ms']['p99'], 1e3 * task.period, 'ms')
        for name, figures in result['chunk'].items()
    ]


def print_result(result: Mapping[str, Any]) -> None:
    """The table that a person reads."""
    lockstep = result['lockstep']
    rates = ', '.join(
        f'B={size} {lockstep[str(size)]["frames_per_s"]:.0f} frames/s '
        f'(x{lockstep[str(size)]["times_one_episode"]})'
        for size in BATCHES
    )
    print(f'lockstep in the world model, {lockstep["policy"]}: {rates}')
    for name, figures in result['chunk'].items():
        print(
            f'a chunk of {name}: p50 {figures["ms"]["p50"]:.1f} ms, '
            f'p99 {figures["ms"]["p99"]:.1f} ms'
        )


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog='bench.policy', description=__doc__.partition('\n')[0])
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument(
        '--policy', nargs='+', default=[], help='folders or names; default: shipped and built in'
    )
    parser.add_argument('--world-model', type=Path, help='folder of its weights; default: shipped')
    parser.add_argument('--rounds', type=int, default=20, help='turns between what is measured')
    parser.add_argument('--seed', type=int, default=0, help='of starts, chunks and random weights')
    parser.add_argument('--json', type=Path, help='where the figures go')
    given = parser.parse_args()
    if given.rounds < 1 or given.seed < 0:
        parser.error('--rounds is 1 or more, --seed is 0 or more')
    torch.set_num_threads(1)
    before = machine()
    policies: dict[str, Policy] = {}
    try:
        task = load_task(given.task)
        folder = given.world_model or MODELS / task.name / 'world_model'
        backend = load_backend('world_model', task, folder, 'cpu')
        policies = policies_of(task, given.policy, given.seed)
        first = next(iter(policies.values()))
        result: dict[str, Any] = {
            'task': task.name,
            'seed': given.seed,
            'lockstep': measure_lockstep(task, backend, first, given.rounds, given.seed),
            'chunk': measure_chunks(task, backend, policies, 2 * given.rounds, given.seed),
        }
    except HiwmError as error:
        print(f'bench.policy: {error.message}', file=sys.stderr)
        return 1
    finally:
        for policy in policies.values():
            if isinstance(policy, ClosingPolicy):
                policy.close()
    bars = bars_of(task, result)
    result['bars'] = [bar.as_dict() for bar in bars]
    result['machine'] = {
        **before,
        'torch': torch.__version__,
        'load_average_after': machine()['load_average'],
    }
    print_result(result)
    print_bars(bars)
    if given.json is not None:
        write_result(given.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
