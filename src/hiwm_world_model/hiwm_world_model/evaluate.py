# SPDX-License-Identifier: Apache-2.0
"""Measure a world model beside the physics: `ros2 run hiwm_world_model evaluate`.

Held-out episodes of four kinds (demo, policy, play, edge) are made in the task's simulator, or read
from bags. The model rolls out open loop beside them, from the same start and with the same actions;
poses are read from its frames by a reader that knows nothing but colours. Two trials follow: does a
commanded body go where it is told, and is the picture whole after a long time of play. All figures
go into a JSON beside the bars that they must reach, with a picture of the drift and a strip.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import hashlib
import json
import math
import os
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from hiwm_core.backend import Backend
from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.extension import load_backend
from hiwm_core.task import Task, load_task
from hiwm_core.whole_file import write_whole
from hiwm_robot.sims import load_pose_reader, load_simulator
from hiwm_world_model.bars import BARS, bars_table, judge
from hiwm_world_model.endurance import measure_endurance
from hiwm_world_model.following import measure_following
from hiwm_world_model.held_out import KINDS, Course, make_courses, read_courses
from hiwm_world_model.open_loop import Comparison, OpenLoop
from hiwm_world_model.pictures import Limit, save_drift, save_strip
from hiwm_world_model.rollout import auroc
from hiwm_world_model.shipped import shipped_model
from hiwm_world_model.weights import WEIGHTS_NAME

FloatArray = NDArray[np.float64]

STEPS = (1, 5, 20, 50, 100, 200)
UNITS = {'agent_px': 'px', 't_px': 'px', 't_deg': 'degrees', 'psnr_db': 'dB'}
BASELINES = ('psnr_copy_first_db', 'psnr_mean_frame_db')
BY_STEP = (
    *UNITS,
    *BASELINES,
    'scene_agent_px',
    'scene_t_px',
    'scene_t_deg',
    'reader_px',
    'reader_deg',
    'progress_error',
)
# How near the heads should be to what their frame shows.
AGREEMENT = {'heads_px': 2.0, 'heads_deg': 5.0}
# A prediction counts as wrong for the fidelity estimate from this share of the picture's width on:
# 8 of 96 pixels.
WRONG_SHARE = 1.0 / 12.0
STRIP_FRAMES = 12
LONGEST = 200
PLAY_STEPS = 600


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        seed: Of the episodes, of the model's keys and of the trials.
        episodes: How many of each kind (at most, if recorded), and rollouts of play.
        steps: Of each episode.
        play_steps: Of each rollout of play; 0: neither of the two trials.
        policy: Who drives episodes of the kind policy; None: the expert made bad on purpose.
        data: Folder of recorded bags to use instead of the physics' own episodes.
        pictures: Folder for `drift.png` and `strip.png`; None for none.
    """

    seed: int
    episodes: int
    steps: int = LONGEST
    play_steps: int = PLAY_STEPS
    policy: Path | None = None
    data: Path | None = None
    pictures: Path | None = None


def evaluate(task: Task, backend: Backend, plan: Plan) -> dict[str, Any]:
    """All figures, ready for JSON.

    Raises:
        HiwmError: The task has no simulator or pose reader, there are no episodes to compare with,
            or the backend could not predict.
    """
    physics, reader = load_simulator(task), load_pose_reader(task)
    loop = OpenLoop(task, backend, reader, plan.seed)
    recorded = (
        None
        if plan.data is None
        else read_courses(task, plan.data, seed=plan.seed, episodes=plan.episodes, steps=plan.steps)
    )
    found: dict[str, list[Comparison]] = {}
    drivers: dict[str, str] = {}
    rows: list[NDArray[np.uint8]] = []
    for kind in KINDS if recorded is None else recorded:
        # One kind after the other, so that only one kind's frames are in memory.
        courses = (
            recorded[kind]
            if recorded is not None
            else make_courses(
                task,
                physics,
                kind,
                seed=plan.seed,
                episodes=plan.episodes,
                steps=plan.steps,
                policy=plan.policy,
            )
        )
        drivers[kind] = courses[0].driver
        found[kind] = loop.compare(courses, keep_frames=1)
        rows += _strip(courses[0], found[kind][0])
    found['all'] = [comparison for kind in list(found) for comparison in found[kind]]
    curves = {
        kind: [comparison.curves for comparison in comparisons]
        for kind, comparisons in found.items()
    }
    kinds = {
        kind: summary(listed, WRONG_SHARE * task.camera.width) for kind, listed in curves.items()
    }
    if plan.play_steps:
        kinds['all'].update(_trials(task, backend, plan))
    result: dict[str, Any] = {
        'task': task.name,
        'backend': backend.name,
        'seed': plan.seed,
        'episodes_per_kind': plan.episodes,
        'steps': plan.steps,
        'drivers': drivers,
        'bars': {kind: judge(kinds[kind], one_kind=kind != 'all') for kind in kinds},
        **kinds['all'],
        'kinds': kinds,
    }
    if plan.pictures is not None:
        _draw(plan.pictures, curves, rows)
    return result


def _trials(task: Task, backend: Backend, plan: Plan) -> dict[str, Any]:
    """Following and endurance, which are of no kind of data."""
    physics, reader = load_simulator(task), load_pose_reader(task)
    following = measure_following(task, backend, physics, reader, plan.seed)
    endurance = measure_endurance(
        task,
        backend,
        physics,
        reader,
        seed=plan.seed,
        rollouts=plan.episodes,
        steps=plan.play_steps,
    )
    known = endurance.area_error[np.isfinite(endurance.area_error)]
    return {
        'action_following': _rounded(following.everywhere),
        'action_following_at_edges': _rounded(following.at_edges),
        'action_following_inside': _rounded(following.inside),
        'action_following_attempts': following.attempts,
        f'stable_{plan.play_steps}': _rounded(float(endurance.whole.mean())),
        f'stable_{plan.play_steps}_rollouts': len(endurance.whole),
        f'stable_{plan.play_steps}_area_error': _quantiles(known, worst=90),
    }


def summary(found: Sequence[Mapping[str, FloatArray]], wrong_px: float) -> dict[str, Any]:
    """Median and 90th percentile of every measure after each of STEPS that an episode reaches.

    Args:
        found: One episode's curves each.
        wrong_px: From what error on a prediction is wrong; fidelity should tell.
    """
    result: dict[str, Any] = {'episodes': len(found)}
    for measure in BY_STEP:
        table = _table(found, measure)
        result[measure] = {}
        for step in STEPS:
            if step >= table.shape[1]:
                break
            values = table[np.isfinite(table[:, step]), step]
            if len(values):
                entry = _quantiles(values, worst=10 if measure.endswith('_db') else 90)
                result[measure][str(step)] = {**entry, 'episodes': len(values)}
    for measure, near in AGREEMENT.items():
        values = _table(found, measure).ravel()
        values = values[np.isfinite(values)]
        if len(values):
            share = round(float((values <= near).mean()), 4)
            result[measure] = {**_quantiles(values, worst=90), 'within': share}
    fidelity, error = (_table(found, measure)[:, 1:].ravel() for measure in ('fidelity', 't_px'))
    known = np.isfinite(fidelity) & np.isfinite(error)
    wrong = error[known] > wrong_px
    result['fidelity_auroc'] = _rounded(auroc(-fidelity[known], wrong))
    result['fidelity_wrong_share'] = _rounded(float(wrong.mean()) if len(wrong) else math.nan)
    return result


def _quantiles(values: FloatArray, worst: int) -> dict[str, float | None]:
    if not len(values):
        return {'p50': None, 'p90': None}
    p50, p90 = np.percentile(values, [50, worst])
    return {'p50': _rounded(float(p50)), 'p90': _rounded(float(p90))}


def _rounded(value: float) -> float | None:
    """For JSON, which has no NaN."""
    return round(value, 4) if math.isfinite(value) else None


def _table(found: Sequence[Mapping[str, FloatArray]], measure: str) -> FloatArray:
    """A measure's curves below each other, padded with NaN."""
    longest = max(len(curves[measure]) for curves in found)
    table = np.full((len(found), longest), np.nan)
    for row, curves in enumerate(found):
        table[row, : len(curves[measure])] = curves[measure]
    return table


def _strip(course: Course, comparison: Comparison) -> list[NDArray[np.uint8]]:
    """Truth and prediction at some steps."""
    chosen = np.linspace(0, len(comparison.steps) - 1, STRIP_FRAMES).astype(int)
    true = course.frames[np.array(comparison.steps)[chosen]]
    return [true, np.stack(comparison.frames)[chosen]]


def _draw(
    folder: Path,
    curves: Mapping[str, Sequence[Mapping[str, FloatArray]]],
    rows: Sequence[NDArray[np.uint8]],
) -> None:
    try:
        save_strip(folder / 'strip.png', rows)
        save_drift(
            folder / 'drift.png',
            {
                measure: {kind: _table(found, measure) for kind, found in curves.items()}
                for measure in UNITS
            },
            UNITS,
            limits={
                measure: [
                    Limit(int(bar.entry[0]), bar.limit) for bar in BARS if bar.measure == measure
                ]
                for measure in UNITS
            },
            baselines={
                'psnr_db': {
                    name: {kind: _table(found, name) for kind, found in curves.items()}
                    for name in BASELINES
                }
            },
        )
    except OSError as error:
        raise _unwritable(folder, error.strerror) from error


def table(kinds: Mapping[str, Any]) -> str:
    """The medians after 20 and 100 steps as lines of text."""
    lines = []
    for kind, measures in kinds.items():
        parts = [f'{kind:8s}']
        for measure in (*UNITS, *BASELINES):
            values = [measures[measure].get(step, {}).get('p50') for step in ('20', '100')]
            parts.append(
                f'{measure} {" / ".join("-" if v is None else f"{v:.2f}" for v in values)}'
            )
        lines.append('  '.join(parts))
    return '\n'.join(lines)


def _prepare(path: Path) -> None:
    """Make the folder of a file, and refuse before the work where it could not be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror) from error
    if path.is_dir() or not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, 'it is a folder' if path.is_dir() else 'permission denied')


def _unwritable(path: Path, reason: str | None) -> HiwmError:
    return HiwmError(
        f'{path} cannot be written ({reason}); name a place that you may write to',
        ErrorCode.STORAGE_FAULT,
    )


# -- the command ---------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='evaluate',
        description='Measure a world model beside the physics, against the bars it must reach.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument(
        '--model', type=Path, help='folder of the world model; without it, the shipped one'
    )
    parser.add_argument('--backend', default='world_model', help='what is measured, by name')
    parser.add_argument(
        '--data', type=Path, help='folder of held-out bags to compare with; without it, the physics'
    )
    parser.add_argument(
        '--policy',
        type=Path,
        help='who drives in episodes of the kind policy; without it, the shipped policy, or where '
        'there is none an expert made bad on purpose',
    )
    parser.add_argument('--seed', type=int, default=0, help='of episodes, keys and trials')
    parser.add_argument('--episodes', type=int, default=30, help='of each kind')
    parser.add_argument('--steps', type=int, default=LONGEST, help='of an episode')
    parser.add_argument(
        '--play-steps',
        type=int,
        default=PLAY_STEPS,
        help='of a rollout of play; 0: no trials of following and endurance',
    )
    parser.add_argument('--json', type=Path, help='write the figures here, pictures beside it')
    return parser


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.seed < 0 or arguments.episodes < 1 or arguments.steps < 1:
        raise ConfigurationError('--seed is 0 or more; --episodes and --steps are 1 or more')
    if arguments.play_steps < 0:
        raise ConfigurationError('--play-steps is 0 or more')
    if arguments.json:
        _prepare(arguments.json)
    task = load_task(arguments.task)
    model: Path | None = arguments.model
    if model is None and arguments.backend == 'world_model':
        model = shipped_model(task, 'world_model')
        if model is None:
            raise ConfigurationError(
                f"there is no shipped world model of task '{task.name}'; name one with --model"
            )
    backend = load_backend(arguments.backend, task, model)
    plan = Plan(
        seed=arguments.seed,
        episodes=arguments.episodes,
        steps=arguments.steps,
        play_steps=arguments.play_steps,
        policy=arguments.policy or shipped_model(task, 'policy'),
        data=arguments.data,
        pictures=arguments.json.parent if arguments.json else None,
    )
    result = evaluate(task, backend, plan)
    if model is not None:
        weights = model if model.is_file() else model / WEIGHTS_NAME
        result['weights_sha256'] = hashlib.sha256(weights.read_bytes()).hexdigest()
    if arguments.json:
        text = json.dumps(result, indent=2, allow_nan=False)
        try:
            write_whole(arguments.json, (text + '\n').encode())
        except OSError as error:
            raise _unwritable(arguments.json, error.strerror) from error
    return result


def main() -> int:
    """The command. Returns 0, 1 after a sentence on stderr, or 130 after an interrupt."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)

    def act() -> int:
        result = _run(arguments)
        print(table(result['kinds']))
        print(bars_table(result['bars']))
        return 0

    return run_command('evaluate', act)


def command() -> None:
    """The executable `evaluate`."""
    sys.exit(main())


if __name__ == '__main__':
    command()
