# SPDX-License-Identifier: Apache-2.0
"""Reading sessions into training batches: steps per second, against the disk's own read rate.

    python3 -m bench.episodes [--data DIR] [--json PATH]

Without `--data` it records episodes of the simulated arm first. What is measured:

- *disk*: the bags' files are read from end to end, after the system has been told to forget them;
- *reading*: the same bags, forgotten again, into episodes and the arrays of training;
- *batches*: from those arrays to tensors of images, joints and chunks of actions, with one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import logging
import os
from pathlib import Path
import resource
import sys
import tempfile
import time
from typing import Any

import torch
from tqdm import tqdm

from bench.result import machine, write_result
from hiwm_core.bag_reader import find_bags
from hiwm_core.episodes import read_episodes
from hiwm_core.error import HiwmError
from hiwm_core.task import Task, load_task
from hiwm_policy.acting import ActingData
from hiwm_policy.dataset import Frames, join_episodes, windows_of
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.size import DiffusionSize
from hiwm_robot.collection import Job, Settings, episode_folder
from hiwm_robot.episode_bag import make_episode

EPISODES, STEPS = 30, 200
BATCH, BATCHES = 64, 100
BLOCK = 1 << 20


def record(folder: Path, task: Task, seed: int) -> None:
    """Episodes of somebody who plays with the simulated arm."""
    settings = Settings(task.name, 'play', STEPS)
    for number in tqdm(range(seed, seed + EPISODES), desc='recording', unit='episode'):
        make_episode(Job(settings, number, episode_folder(folder, 'play', number)))


def files_of(data: Path) -> list[Path]:
    """The files of all bags below a folder."""
    return [file for bag in find_bags(data) for file in sorted(bag.glob('*.mcap'))]


def forget(files: Sequence[Path]) -> None:
    """Tell the system to keep nothing of the files in memory."""
    for file in files:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_raw(files: Sequence[Path]) -> float:
    """Seconds that it takes to read the files and look at nothing."""
    began = time.perf_counter()
    for file in files:
        with file.open('rb', buffering=0) as stream:
            while stream.read(BLOCK):
                pass
    return time.perf_counter() - began


def read_arrays(data: Path, task: Task) -> tuple[Frames, float, float]:
    """The arrays, the seconds that they took, and the seconds that a core computed."""
    began, computed = time.perf_counter(), time.process_time()
    frames = join_episodes(read_episodes(data, task), task)
    return frames, time.perf_counter() - began, time.process_time() - computed


def make_batches(frames: Frames, task: Task, seed: int) -> tuple[float, int]:
    """Seconds for all batches, and how many steps they hold."""
    network = PolicyNetwork(task, DiffusionSize())
    size = network.size
    data = ActingData(
        network, frames, windows_of(frames, size.context, size.horizon, size.chunk_steps)
    )
    generator = torch.Generator().manual_seed(seed)
    began = time.perf_counter()
    for _ in tqdm(range(BATCHES), desc='batches', unit='batch'):
        chosen = torch.randint(len(data), (BATCH,), generator=generator)
        data.image_batch(chosen, generator)
    return time.perf_counter() - began, BATCH * BATCHES


def measure(data: Path, task: Task, seed: int) -> dict[str, Any]:
    """All of it, as it goes into the JSON."""
    files = files_of(data)
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    forget(files)
    disk = read_raw(files)
    forget(files)
    frames, reading, computed = read_arrays(data, task)
    steps = len(frames.frames) - frames.episodes
    batches, batch_steps = make_batches(frames, task, seed)
    return {
        'bags': len(find_bags(data)),
        'episodes': frames.episodes,
        'steps': steps,
        'file_mb': round(megabytes, 2),
        'disk': {'mb_per_s': round(megabytes / disk, 1), 'steps_per_s': round(steps / disk)},
        'reading': {
            'steps_per_s': round(steps / reading),
            'steps_per_core_s': round(steps / computed),
            'mb_per_s': round(megabytes / reading, 1),
            'frame_mb_per_s': round(frames.frames.nbytes / 1e6 / reading, 1),
            'share_of_disk': round(disk / reading, 4),
        },
        'batches': {'batch': BATCH, 'steps_per_s': round(batch_steps / batches)},
        'peak_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog='bench.episodes', description=__doc__)
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--data', type=Path, help='a folder with bags; without one it is recorded')
    parser.add_argument('--seed', type=int, default=0, help='of the recording and the batches')
    parser.add_argument('--json', type=Path, help='where the result goes')
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format='%(message)s')
    torch.set_num_threads(1)
    try:
        task = load_task(given.task)
        if given.data is not None:
            result = measure(given.data, task, given.seed)
        else:
            with tempfile.TemporaryDirectory() as folder:
                record(Path(folder), task, given.seed)
                result = measure(Path(folder), task, given.seed)
    except HiwmError as error:
        print(f'bench.episodes: {error.message}', file=sys.stderr)
        return 1
    result = {'machine': machine(), 'data': str(given.data or 'recorded'), **result}
    reading = result['reading']
    print(
        f'{result["steps"]} steps in {result["bags"]} bags ({result["file_mb"]} MB): '
        f'read at {reading["steps_per_s"]} steps/s ({reading["steps_per_core_s"]} of a core), '
        f'{reading["share_of_disk"]:.1%} of what the disk gives; '
        f'batches at {result["batches"]["steps_per_s"]} steps/s'
    )
    if given.json is not None:
        write_result(given.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
