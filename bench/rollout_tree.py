# SPDX-License-Identifier: Apache-2.0
"""Measures a large rollout tree: its size on disk and in memory, appending, rollback, opening.

The observations are those of the shipped world model under play, a few thousand of them, stored
over and over: each record is compressed and checked by itself, so that the tree costs what one of
as many different frames costs. A branch is left every 50 steps on the average, for a random node
of the whole tree.

A rollback is timed as a rig makes it: the head is moved, and the frames that are shown again are
read. It is timed twice in a process that has just opened the tree: with the journal in the
system's cache, and with the journal driven out of it. Opening is timed in the same two ways. The
bars hold for the worse of the two.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from bench.result import Bar, machine, percentiles, print_bars, write_result
from hiwm_core.observation import Observation
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import JOURNAL_NAME, RolloutTree
from hiwm_core.task import Task, load_task

TASK = 'pusht'
MODEL = Path(__file__).parents[1] / 'src' / 'hiwm_bringup' / 'models' / TASK / 'world_model'
EPISODE = 250  # steps
BRANCH_EVERY = 50  # steps, on the average
CHECKPOINT_EVERY = 1000  # steps
CONTEXT = 4  # frames shown again after a rollback, as in a session


@dataclass(frozen=True, eq=False)
class Step:
    """An action and what was observed after it."""

    action: np.ndarray
    observation: Observation


def play(task: Task, count: int, seed: int) -> list[Step]:
    """Steps of the world model under play."""
    import torch  # noqa: PLC0415  only this process, so that the others' memory is the tree's

    from hiwm_core.backend import first_observation, next_observation  # noqa: PLC0415
    from hiwm_core.extension import load_backend  # noqa: PLC0415
    from hiwm_robot.play import PlayDriver  # noqa: PLC0415

    torch.set_num_threads(1)
    backend = load_backend('world_model', task, MODEL)
    steps: list[Step] = []
    for number in tqdm(range(count), unit='frame', desc='world model'):
        if number % EPISODE == 0:
            observation = first_observation(backend, task.start_scene(seed + number), number)
            driver = PlayDriver(task, seed + number)
            action = task.hold_action(observation.joints)
        else:
            action = driver.action([observation])
            observation = next_observation(backend, observation, action, number)
        steps.append(Step(action, observation))
    return steps


def build(folder: Path, steps: list[Step], nodes: int, seed: int) -> dict[str, Any]:
    """A tree of so many nodes; returns what appending and rolling back cost."""
    random = np.random.default_rng(seed)
    rig = Rig(load_task(TASK), RolloutTree(folder, seed))
    tree = rig.tree
    rig.reset(steps[0].observation, seed)
    appends = []
    for number in tqdm(range(1, nodes), unit='node', desc='append', mininterval=0.5):
        if random.random() < 1 / BRANCH_EVERY:
            at = int(random.integers(1, number + 1))
            rig.fork(node=at, resample=bool(random.random() < 0.5))
        if number % CHECKPOINT_EVERY == 0:
            rig.save_checkpoint(f'at {number}')
        step = steps[number % len(steps)]
        request = rig.begin_step()
        began = time.perf_counter()
        rig.finish_step(request, step.observation)
        appends.append(time.perf_counter() - began)
    tree.close()
    return {
        'branches': len(tree.branches),
        'append_ms': percentiles(appends),
        'resident_gb': resident(),
    }


def reopen(folder: Path, rollbacks: int, seed: int) -> dict[str, Any]:
    """Open the tree and roll back to random nodes, each with a cold and a warm cache."""
    journal = folder / JOURNAL_NAME
    random = np.random.default_rng(seed)
    result: dict[str, Any] = {'start_up_s': {}, 'rollback_ms': {}}
    for cache in ('cold', 'warm'):
        if cache == 'cold':
            evict(journal)
        began = time.perf_counter()
        tree = RolloutTree(folder, seed)
        result['start_up_s'][cache] = round(time.perf_counter() - began, 3)
        tree.close()
    rig = Rig(load_task(TASK), RolloutTree(folder, seed))
    for cache in ('warm', 'cold'):
        times: list[float] = []
        for _ in tqdm(range(rollbacks), desc=f'rollback, {cache}', mininterval=0.5):
            if cache == 'cold' and len(times) % 50 == 0:
                evict(journal)
            node = int(random.integers(1, len(rig.tree.nodes) + 1))
            began = time.perf_counter()
            rig.rollback(node=node)
            for each in rig.context_nodes(CONTEXT):
                rig.tree.observation(each.id)
            times.append(time.perf_counter() - began)
        result['rollback_ms'][cache] = percentiles(times)
    result['resident_gb'] = resident()
    rig.tree.close()
    return result


def evict(path: Path) -> None:
    """Drive a file out of the system's cache, as far as the system lets us."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(file)


def resident() -> float:
    """The largest resident memory of this process so far, GB."""
    for line in Path('/proc/self/status').read_text().splitlines():
        if line.startswith('VmHWM'):
            return round(int(line.split()[1]) * 1024 / 1e9, 4)
    raise SystemExit('bench: /proc/self/status has no VmHWM; this measurement needs Linux')


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
        return pool.submit(work, *arguments).result()


def measure(
    folder: Path, nodes: int, frames: int, rollbacks: int, seed: int
) -> tuple[dict[str, Any], list[Bar]]:
    """Build the tree in one process and open it in another; all figures, and those with bars."""
    steps = alone(play, load_task(TASK), min(frames, nodes), seed)
    built = alone(build, folder, steps, nodes, seed)
    disk = sum(path.stat().st_size for path in folder.iterdir())
    opened = alone(reopen, folder, rollbacks, seed)
    rollback = max(each['p99'] for each in opened['rollback_ms'].values())
    bars = [
        Bar('disk', disk / 1e9, 4.0, 'GB'),
        Bar('resident', max(built['resident_gb'], opened['resident_gb']), 1.5, 'GB'),
        Bar('rollback, p99', rollback, 20.0, 'ms'),
        Bar('start-up', max(opened['start_up_s'].values()), 10.0, 's'),
    ]
    return {
        'nodes': nodes,
        'branches': built['branches'],
        'seed': seed,
        'different_frames': len(steps),
        'bytes_per_node': round(disk / nodes, 1),
        'append_ms': built['append_ms'],
        'rollback_ms': opened['rollback_ms'],
        'start_up_s': opened['start_up_s'],
        'bars': [bar.as_dict() for bar in bars],
        'machine': machine(),
    }, bars


def table(result: dict[str, Any]) -> str:
    """The figures, for a person."""
    lines = [
        f'{result["nodes"]:,} nodes, {result["branches"]:,} branches, '
        f'{result["bytes_per_node"]:.0f} bytes a node',
        f'{"":<22}{"p50":>9}{"p99":>9}{"max":>9}',
    ]
    for name, each in (
        ('append, ms', result['append_ms']),
        ('rollback, warm, ms', result['rollback_ms']['warm']),
        ('rollback, cold, ms', result['rollback_ms']['cold']),
    ):
        lines.append(f'{name:<22}' + ''.join(f'{value:>9.3f}' for value in each.values()))
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--nodes', type=int, default=100_000, help='size of the tree')
    parser.add_argument('--frames', type=int, default=2000, help='how many are different')
    parser.add_argument('--rollbacks', type=int, default=2000, help='how many are timed')
    parser.add_argument('--seed', type=int, default=0, help='of the play, the branches, all')
    parser.add_argument('--folder', type=Path, help='where to make the tree; not on a RAM disk')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    for name in ('nodes', 'frames', 'rollbacks'):
        if getattr(arguments, name) < 2:
            parser.error(f'--{name} must be 2 or more, not {getattr(arguments, name)}')
    if arguments.folder is not None and not arguments.folder.is_dir():
        parser.error(f'--folder {arguments.folder} is not a folder; make it first')
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-', dir=arguments.folder) as folder:
        result, bars = measure(
            Path(folder), arguments.nodes, arguments.frames, arguments.rollbacks, arguments.seed
        )
    print(table(result))
    print_bars(bars)
    if arguments.json:
        write_result(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
