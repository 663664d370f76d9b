# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy evaluate`: closed-loop success of a policy on a rig, in process.

Episode i starts at the task's start of seed S + i, so that all policies meet the same starts; when
it ends, `hiwm_policy.lockstep` says. Episodes are computed in batches, and batches on as many
processes as are asked for: the result depends on the size of a batch in its last bits at most, and
on the number of processes not at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from PIL import Image
import torch
from tqdm import tqdm

from hiwm_core.backend import Backend
from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_backend, open_policy
from hiwm_core.interval import wilson
from hiwm_core.json_file import write_json
from hiwm_core.policy import Policy
from hiwm_core.task import Task, load_task
from hiwm_policy.lockstep import Attempt, run_attempts
from hiwm_policy.model import add_evaluation, load_card

# Of the progress that the task asks for: how many episodes came near.
NEAR = 0.95
# The card says these elsewhere, or has no room for them.
NOT_IN_CARD = (
    'task',
    'rig',
    'policy',
    'backbone',
    'variant',
    'post_training',
    'demo_seeds',
    'weights_sha256',
    'table',
)


@dataclass(frozen=True)
class Setting:
    """What every worker needs to know.

    Attributes:
        policy: A folder with a card, or `NAME:PATH` of an installed policy.
    """

    rig: str
    task: str
    policy: str
    world_model: Path | None
    batch: int = 16
    films: bool = False


@dataclass(frozen=True, eq=False)
class Result:
    """One episode.

    Attributes:
        frame: uint8 (H, W, 3), the last.
        film: All of them, if they were asked for and the episode failed.
    """

    seed: int
    success: bool
    steps: int
    best_progress: float
    final_progress: float
    frame: NDArray[np.uint8]
    film: list[NDArray[np.uint8]]


def run_episode(task: Task, backend: Backend, policy: Policy, seed: int) -> Result:
    """One closed-loop episode from the start of `seed`."""
    return result_of(run_attempts(task, backend, policy, [seed])[0])


def result_of(attempt: Attempt) -> Result:
    """What is kept of an episode."""
    failed = not attempt.done
    return Result(
        seed=attempt.seed,
        success=attempt.done,
        steps=attempt.steps,
        best_progress=attempt.best_progress,
        final_progress=attempt.last.progress,
        frame=attempt.last.frame,
        film=[observation.frame for observation in attempt.observations] if failed else [],
    )


def summarize(task: Task, setting: Setting, results: Sequence[Result]) -> dict[str, Any]:
    """What goes into the JSON. A rate that the rig cannot give is null."""
    card = _card(setting.policy)
    count, won = len(results), sum(result.success for result in results)
    known = [result for result in results if math.isfinite(result.best_progress)]
    low, high = wilson(won, count)
    near = NEAR * task.success_above
    return {
        'task': task.name,
        'rig': setting.rig,
        'policy': Path(setting.policy).name,
        'backbone': card.get('backbone'),
        'variant': card.get('variant', 'base'),
        'post_training': card.get('post_training'),
        'demo_seeds': card.get('data', {}).get('demo_seeds'),
        'weights_sha256': card.get('weights_sha256'),
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
                if name not in {'frame', 'film'}
            }
            for result in results
        ],
    }


def _card(policy: str) -> dict[str, Any]:
    """A policy's card; one that is no folder of this package has none."""
    folder = Path(policy).expanduser()
    return load_card(folder) if folder.is_dir() else {'backbone': policy.partition(':')[0]}


_LOADED: dict[Setting, tuple[Task, Backend, Policy]] = {}


def _load(setting: Setting) -> tuple[Task, Backend, Policy]:
    """Backend and policy of this process, loaded once."""
    if setting not in _LOADED:
        task = load_task(setting.task)
        backend = load_backend(setting.rig, task, setting.world_model)
        _LOADED[setting] = (task, backend, open_policy(task, setting.policy))
    return _LOADED[setting]


def _work(job: tuple[Setting, Sequence[int]]) -> list[Result]:
    setting, seeds = job
    attempts = run_attempts(*_load(setting), seeds, keep=setting.films)
    return [result_of(attempt) for attempt in attempts]


def _begin_worker() -> None:
    torch.set_num_threads(1)


def evaluate(setting: Setting, seeds: Sequence[int], workers: int) -> list[Result]:
    """All episodes, in the order of their seeds, on so many processes.

    Raises:
        HiwmError: The rig, the task or the policy cannot be used.
    """
    _begin_worker()
    task, backend, policy = _load(setting)
    groups = [seeds[first : first + setting.batch] for first in range(0, len(seeds), setting.batch)]
    results: list[Result] = []
    with tqdm(total=len(seeds), desc=f'{task.name} on {setting.rig}', unit='episode') as bar:
        won = over = 0

        def count(success: bool) -> None:
            nonlocal won, over
            won, over = won + success, over + 1
            bar.update()
            bar.set_postfix_str(f'success {won}/{over}')

        if workers == 1:
            for group in groups:
                attempts = run_attempts(
                    task,
                    backend,
                    policy,
                    group,
                    keep=setting.films,
                    finished=lambda attempt: count(attempt.done),
                )
                results += [result_of(attempt) for attempt in attempts]
            return results
        # spawn: a forked process would share the threads of torch and of the simulator.
        pool = multiprocessing.get_context('spawn').Pool(workers, _begin_worker)
        try:
            for part in pool.imap(_work, [(setting, group) for group in groups]):
                results += part
                for result in part:
                    count(result.success)
        finally:
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


def write_films(task: Task, results: Sequence[Result], folder: Path) -> int:
    """A moving picture (GIF) of every failed episode; returns how many. Raises HiwmError."""
    failures = [result for result in results if result.film]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for result in failures:
            first, *rest = (Image.fromarray(frame) for frame in result.film)
            part = folder / f'.{result.seed}.{os.getpid()}.gif'
            first.save(part, save_all=True, append_images=rest, duration=round(1e3 * task.period))
            part.replace(folder / f'{result.seed}.gif')
    except OSError as error:
        raise ConfigurationError(
            f'no film can be written to {folder}: {error.strerror or error}'
        ) from error
    return len(failures)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog='evaluate', description='Closed-loop success of a policy on a rig.')
    parser.add_argument('--rig', default='sim_arm', help='sim_arm, world_model, or any backend')
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument(
        '--policy', required=True, help="folder of the policy's weights, or lerobot:PATH"
    )
    parser.add_argument('--world-model', type=Path, help='folder of the weights of the rig')
    parser.add_argument('--episodes', type=int, default=100, help='how many starts')
    parser.add_argument('--seed', type=int, default=10_000_000, help='of the first start')
    parser.add_argument('--workers', type=int, default=1, help='processes')
    parser.add_argument('--json', type=Path, help='where the figures go; a picture goes beside')
    parser.add_argument('--batch', type=int, default=16, help='episodes in one forward pass')
    parser.add_argument('--videos', type=Path, help='folder for a film of every failed episode')
    parser.add_argument(
        '--card', action='store_true', help="note the figures in the policy's card too"
    )
    return parser.parse_args(given)


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    return run_command('evaluate', lambda: _measure(given), 'stopped; nothing was written')


def _measure(given: argparse.Namespace) -> int:
    if min(given.episodes, given.workers, given.batch) < 1 or given.seed < 0:
        raise ConfigurationError(
            '--episodes, --workers and --batch are 1 or more, --seed is 0 or more'
        )
    if given.card and not Path(given.policy).is_dir():
        raise ConfigurationError(f'--card: {given.policy} has no card; leave it out')
    setting = Setting(
        rig=given.rig,
        task=given.task,
        policy=given.policy,
        world_model=given.world_model,
        batch=given.batch,
        films=given.videos is not None,
    )
    started = time.monotonic()
    seeds = range(given.seed, given.seed + given.episodes)
    results = evaluate(setting, seeds, given.workers)
    task = load_task(given.task)
    summary = summarize(task, setting, results)
    summary['seconds'] = round(time.monotonic() - started, 1)
    if given.json is not None:
        write_json(given.json, summary)
        draw(task, results, given.json.with_suffix('.png'))
    if given.videos is not None:
        write_films(task, results, given.videos)
    if given.card:
        figures = {name: value for name, value in summary.items() if name not in NOT_IN_CARD}
        add_evaluation(Path(given.policy), given.rig, figures)
    low, high = summary['interval_95']
    print(
        f'{summary["successes"]} of {summary["episodes"]} succeed: {summary["success"]:.1%} '
        f'(95 %: {low:.1%} to {high:.1%}); mean best {task.progress_name} '
        f'{summary["mean_best_progress"]}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
