# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy evaluate`: closed-loop success of a policy on a rig, in process.

Everything is in lockstep. Episode i starts at the task's start of seed S + i, so that all policies
meet the same starts. It ends when the task's criterion is met in any frame, or after the task's
`episode_steps`. Where a rig does not know the progress (a world model may not), its own estimate of
success is asked instead.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
import math
import multiprocessing
import os
from pathlib import Path
import sys
import time
from typing import Any

from matplotlib.figure import Figure
import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from hiwm_core.backend import Backend, first_observation, next_observation
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.extension import load_backend, load_policy
from hiwm_core.interval import wilson
from hiwm_core.policy import Policy
from hiwm_core.task import Task, load_task
from hiwm_policy.model import add_evaluation, load_card

# Of the progress that the task asks for: how many episodes came near.
NEAR = 0.95
# The card says these elsewhere, or has no room for them.
NOT_IN_CARD = ('task', 'rig', 'policy', 'table')


@dataclass(frozen=True)
class Setting:
    """What every worker needs to know."""

    rig: str
    task: str
    policy: Path
    world_model: Path | None


@dataclass(frozen=True, eq=False)
class Result:
    """One episode; `frame` is uint8 (H, W, 3), the last."""

    seed: int
    success: bool
    steps: int
    best_progress: float
    final_progress: float
    frame: NDArray[np.uint8]


def key_of(seed: int, step: int, what: str) -> int:
    """64 bits of randomness for one use in one step of one episode."""
    digest = hashlib.blake2b(f'{what} {seed} {step}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little')


def run_episode(task: Task, backend: Backend, policy: Policy, seed: int) -> Result:
    """One closed-loop episode from the start of `seed`."""
    observation = first_observation(backend, task.start_scene(seed), key_of(seed, 0, 'reset'))
    history = deque([observation], maxlen=policy.context)
    best, steps = observation.progress, 0
    done = task.succeeded(observation.progress, observation.success)
    chunk: NDArray[np.float64] = np.empty((0, len(task.actions)))
    while not done and steps < task.episode_steps:
        place = steps % policy.chunk_steps
        if place == 0:
            chunk = policy.chunk(list(history), key_of(seed, steps, 'chunk'))
        observation = next_observation(
            backend, observation, chunk[place], key_of(seed, steps, 'step')
        )
        history.append(observation)
        steps += 1
        best = np.fmax(best, observation.progress)
        done = task.succeeded(observation.progress, observation.success)
    return Result(
        seed=seed,
        success=done,
        steps=steps,
        best_progress=float(best),
        final_progress=float(observation.progress),
        frame=observation.frame,
    )


def summarize(task: Task, setting: Setting, results: Sequence[Result]) -> dict[str, Any]:
    """What goes into the JSON. A rate that the rig cannot give is null."""
    count, won = len(results), sum(result.success for result in results)
    known = [result for result in results if math.isfinite(result.best_progress)]
    low, high = wilson(won, count)
    near = NEAR * task.success_above
    return {
        'task': task.name,
        'rig': setting.rig,
        'policy': setting.policy.name,
        'world_model': setting.world_model.name if setting.world_model else None,
        'episodes': count,
        'first_seed': results[0].seed,
        'successes': won,
        'success': won / count,
        'interval_95': [low, high],
        f'{task.progress_name}_above': task.success_above,
        'near': {
            'above': near,
            'rate': sum(result.best_progress > near for result in known) / count if known else None,
        },
        'mean_best_progress': float(np.mean([result.best_progress for result in known]))
        if known
        else None,
        'median_steps_of_successes': float(
            np.median([result.steps for result in results if result.success])
        )
        if won
        else None,
        'table': [
            {
                name: (None if isinstance(value, float) and not math.isfinite(value) else value)
                for name, value in asdict(result).items()
                if name != 'frame'
            }
            for result in results
        ],
    }


_LOADED: dict[Setting, tuple[Task, Backend, Policy]] = {}


def _load(setting: Setting) -> tuple[Task, Backend, Policy]:
    """Backend and policy of this process, loaded once."""
    if setting not in _LOADED:
        task = load_task(setting.task)
        backend = load_backend(setting.rig, task, setting.world_model)
        # The card says which of the installed policies reads the weights.
        backbone = str(load_card(setting.policy).get('backbone'))
        _LOADED[setting] = (task, backend, load_policy(backbone, task, setting.policy))
    return _LOADED[setting]


def _work(job: tuple[Setting, int]) -> Result:
    setting, seed = job
    return run_episode(*_load(setting), seed)


def _begin_worker() -> None:
    torch.set_num_threads(1)


def evaluate(setting: Setting, seeds: Sequence[int], workers: int) -> list[Result]:
    """All episodes, in the order of their seeds, on so many processes.

    Raises:
        HiwmError: The rig, the task or the policy cannot be used.
    """
    _begin_worker()
    task = _load(setting)[0]
    jobs = [(setting, seed) for seed in seeds]
    results: list[Result] = []
    with tqdm(total=len(jobs), desc=f'{task.name} on {setting.rig}', unit='episode') as bar:
        won = 0
        # spawn: a forked process would share the threads of torch and of the simulator.
        context = multiprocessing.get_context('spawn')
        pool = context.Pool(workers, _begin_worker) if workers > 1 else None
        try:
            for result in pool.imap(_work, jobs) if pool else map(_work, jobs):
                results.append(result)
                won += result.success
                bar.update()
                bar.set_postfix_str(f'success {won}/{len(results)}')
        finally:
            if pool:
                pool.terminate()
                pool.join()
    return results


def draw(task: Task, results: Sequence[Result], path: Path) -> None:
    """The last frame of every episode with its best progress, successes framed, as one picture."""
    columns = min(10, len(results))
    rows = math.ceil(len(results) / columns)
    figure = Figure(figsize=(1.1 * columns, 1.35 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for place, axis in enumerate(axes.flat):
        axis.set_xticks([])
        axis.set_yticks([])
        if place >= len(results):
            axis.axis('off')
            continue
        result = results[place]
        colour = 'tab:green' if result.success else 'tab:red'
        axis.imshow(result.frame)
        axis.set_title(f'{result.seed}: {result.best_progress:.2f}', fontsize=7, color=colour)
        for spine in axis.spines.values():
            spine.set_color(colour)
            spine.set_linewidth(2)
    won = sum(result.success for result in results)
    figure.suptitle(
        f'{task.name}: {won} of {len(results)} succeed; seed: best {task.progress_name}', fontsize=9
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Write whole or not at all. Raises ConfigurationError."""
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(data, indent=2, allow_nan=False) + '\n', encoding='utf-8')
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be written: {error.strerror}') from error


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog='evaluate', description='Closed-loop success of a policy on a rig.'
    )
    parser.add_argument('--rig', default='sim_arm', help='sim_arm, world_model, or any backend')
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--policy', type=Path, required=True, help="folder of the policy's weights")
    parser.add_argument('--world-model', type=Path, help='folder of the weights of the rig')
    parser.add_argument('--episodes', type=int, default=100, help='how many starts')
    parser.add_argument('--seed', type=int, default=10_000_000, help='of the first start')
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--json', type=Path, help='where the figures go; a picture goes beside')
    parser.add_argument(
        '--card', action='store_true', help="note the figures in the policy's card too"
    )
    return parser.parse_args(given)


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    try:
        if given.episodes < 1 or given.workers < 1 or given.seed < 0:
            raise ConfigurationError('--episodes and --workers are 1 or more, --seed is 0 or more')
        setting = Setting(given.rig, given.task, given.policy, given.world_model)
        started = time.monotonic()
        seeds = range(given.seed, given.seed + given.episodes)
        results = evaluate(setting, seeds, given.workers)
        task = load_task(given.task)
        summary = summarize(task, setting, results)
        summary['seconds'] = round(time.monotonic() - started, 1)
        if given.json is not None:
            write_json(given.json, summary)
            draw(task, results, given.json.with_suffix('.png'))
        if given.card:
            figures = {name: value for name, value in summary.items() if name not in NOT_IN_CARD}
            add_evaluation(given.policy, given.rig, figures)
    except HiwmError as error:
        print(f'evaluate: {error.message}', file=sys.stderr)
        return 1
    low, high = summary['interval_95']
    print(
        f'{summary["successes"]} of {summary["episodes"]} succeed: {summary["success"]:.1%} '
        f'(95 %: {low:.1%} to {high:.1%}); mean best {task.progress_name} '
        f'{summary["mean_best_progress"]}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
