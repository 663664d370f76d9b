# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_robot collect`: episodes of the simulated arm as bags, faster than real time.

Nothing is on the graph: the simulator runs in this process, and the messages that a rig would
publish go straight into one bag per episode (`episode_bag`), so the same command writes the same
data.
"""

from __future__ import annotations

import argparse
from collections import Counter
import json
import os
from pathlib import Path
import sys
from typing import Any

from rclpy.utilities import remove_ros_args
from tqdm import tqdm

from hiwm_core.command import INTERRUPTED, Parser, run_command
from hiwm_core.episodes import read_episodes
from hiwm_core.error import HiwmError
from hiwm_core.task import load_task
from hiwm_robot.collection import (
    KINDS,
    Job,
    Outcome,
    Settings,
    episode_folder,
    finished_outcome,
    make_driver,
    prepare,
    run_jobs,
)
from hiwm_robot.coverage import draw_coverage
from hiwm_robot.episode_bag import make_episode


def _whole(lowest: int) -> Any:
    """An argument type: a whole number that is at least `lowest`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if value < lowest:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {lowest}, not '{text}'"
            )
        return value

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='collect',
        description='Collect episodes of the simulated arm, one bag each. Run the same command '
        'again to go on with an interrupted collection.',
    )
    parser.add_argument(
        '--task', default='pusht', help='which task, by name (default: %(default)s)'
    )
    parser.add_argument(
        '--kind',
        choices=KINDS,
        required=True,
        help='demo: the scripted expert; play: driving without a goal; edge: the workspace and its '
        'edges; policy: --policy, or without it an expert made bad on purpose',
    )
    parser.add_argument('--episodes', type=_whole(1), required=True, metavar='N')
    parser.add_argument(
        '--seed', type=_whole(0), default=0, metavar='S', help='of the first episode (default: 0)'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='made if missing')
    parser.add_argument(
        '--steps', type=_whole(1), metavar='N', help="longest episode (default: the task's)"
    )
    parser.add_argument(
        '--workers', type=_whole(1), default=1, metavar='N', help='processes (default: 1)'
    )
    parser.add_argument('--policy', type=Path, metavar='DIR', help='weights of the policy to run')
    parser.add_argument('--json', type=Path, metavar='PATH', help='write the counts there')
    return parser


def _collect(arguments: argparse.Namespace) -> int:
    task = load_task(arguments.task)
    if arguments.policy is not None and arguments.kind != 'policy':
        raise HiwmError(f'--policy drives episodes of the kind policy, not {arguments.kind}')
    settings = Settings(
        task=task.name,
        kind=arguments.kind,
        steps=arguments.steps or task.episode_steps,
        policy=str(arguments.policy.resolve()) if arguments.policy else '',
    )
    make_driver(settings, arguments.seed)  # refuses what cannot drive before anything is made
    out: Path = arguments.out
    prepare(out, settings)
    outcomes: list[Outcome] = []
    jobs: list[Job] = []
    for seed in range(arguments.seed, arguments.seed + arguments.episodes):
        job = Job(settings, seed, episode_folder(out, settings.kind, seed))
        found = finished_outcome(job)
        if found is None:
            jobs.append(job)
        else:
            outcomes.append(found)
    kept = len(outcomes)
    interrupted = False
    with tqdm(total=arguments.episodes, initial=kept, unit='episode', desc=settings.kind) as bar:
        try:
            for outcome in run_jobs(jobs, make_episode, arguments.workers):
                outcomes.append(outcome)
                bar.set_postfix(success=sum(outcome.success for outcome in outcomes))
                bar.update()
        except KeyboardInterrupt:
            interrupted = True
    _report(arguments, settings, outcomes, kept, interrupted=interrupted)
    if interrupted:
        print('collect: interrupted; run the same command again to go on', file=sys.stderr)
        return INTERRUPTED
    draw_coverage(task, read_episodes(out, task), out / 'coverage.png')
    return 0


def _report(
    arguments: argparse.Namespace,
    settings: Settings,
    outcomes: list[Outcome],
    kept: int,
    *,
    interrupted: bool,
) -> None:
    counts = Counter(outcome.success for outcome in outcomes)
    rate = counts[True] / len(outcomes) if outcomes else 0.0
    print(
        f'{len(outcomes)} of {arguments.episodes} episodes are in {arguments.out} '
        f'({kept} were there before): {counts[True]} succeeded, {counts[False]} failed'
    )
    if arguments.json is not None and not interrupted:
        # It says that all is there; whoever waits for it goes on then.
        result = {
            'task': settings.task,
            'kind': settings.kind,
            'seed': arguments.seed,
            'episodes': len(outcomes),
            'success': counts[True],
            'failed': counts[False],
            'success_rate': rate,
            'steps': sum(outcome.steps for outcome in outcomes),
            'median_steps': sorted(outcome.steps for outcome in outcomes)[len(outcomes) // 2]
            if outcomes
            else 0,
        }
        try:
            temporary = arguments.json.with_name(f'.{arguments.json.name}')
            temporary.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
            temporary.replace(arguments.json)
        except OSError as error:
            raise HiwmError(f'{arguments.json} cannot be written ({error.strerror})') from error


def main(argv: list[str] | None = None) -> int:
    """The executable `collect`; returns its exit code."""
    # Several threads of one small network disturb each other and the other workers.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    given = remove_ros_args(sys.argv)[1:] if argv is None else argv
    arguments = _parser().parse_args(given)
    return run_command('collect', lambda: _collect(arguments))
