# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_core export_lerobot`: sessions and demonstrations as a LeRobotDataset v3.

Whole attempts and branches are written; a step that is not to be learned from has the weight 0.
The data set appears when it is complete.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import os
from pathlib import Path
import shutil
import sys

import numpy as np
from tqdm import tqdm

from hiwm_core.command import Parser, run_command
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.json_file import write_json
from hiwm_core.lerobot_dataset import LeRobotWriter
from hiwm_core.lerobot_environment import has_lerobot, lerobot_command
from hiwm_core.selection import Selection, Wanted, corrected_first, selected
from hiwm_core.task import Task, load_task
from hiwm_core.tree_node import Label
from hiwm_core.weighting import (
    StepClass,
    Weighting,
    count_classes,
    step_classes,
    weights,
)


def export(
    sessions: Sequence[Path],
    out: Path,
    task: Task,
    wanted: Wanted,
    *,
    weighting: Weighting = Weighting.UNIFORM,
    video: bool = False,
) -> dict[str, int]:
    """Write the data set; returns how many episodes, steps, and steps with a weight it has.

    Raises:
        HiwmError: There is no session, nothing is left of them, or the folder cannot be used.
    """
    if out.exists():
        raise ConfigurationError(f'{out} exists already and is not overwritten; name another')
    where = ', '.join(map(str, sessions))
    # Weights depend on all steps, so the sessions are read twice.
    counts = np.zeros(len(StepClass), np.int64)
    scene = True
    selection = Selection(wanted)
    for episode, kept in selected(
        tqdm(_episodes(sessions, task), desc='counting', unit='episode'), selection
    ):
        counts += count_classes(step_classes(episode)[kept])
        scene = scene and episode.scene.shape[1] == len(task.scene)
    selection.check(where)

    partial = out.with_name(f'.{out.name}.part')
    shutil.rmtree(partial, ignore_errors=True)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        writer = LeRobotWriter(partial, task, video=video, scene=scene and bool(task.scene))
        selection = Selection(wanted)
        written = steps = weighted = 0
        found = tqdm(_episodes(sessions, task), desc='writing', unit='episode')
        for episode, kept in selected(found, selection):
            each = np.where(kept, weights(episode, weighting, counts), 0.0)
            writer.add(episode, each)
            written += 1
            steps += episode.steps
            weighted += int((each > 0.0).sum())
        writer.close()
        partial.rename(out)
    except OSError as error:
        raise ConfigurationError(f'{out} cannot be written: {error}') from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {'episodes': written, 'steps': steps, 'weighted_steps': weighted}


def _episodes(sessions: Sequence[Path], task: Task) -> Iterator[Episode]:
    for session in corrected_first(read_episodes(sessions, task)):
        yield from session


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog='export_lerobot', description=__doc__)
    parser.add_argument('--sessions', type=Path, nargs='+', required=True, metavar='DIR')
    parser.add_argument('--out', type=Path, required=True, help='the new data set')
    parser.add_argument('--task', default='pusht', help='which task, by name')
    parser.add_argument('--video', action='store_true', help='frames as video instead of PNG')
    parser.add_argument(
        '--weighting', default='uniform', choices=[scheme.value for scheme in Weighting]
    )
    parser.add_argument(
        '--labels',
        nargs='+',
        default=['none', 'success', 'failure'],
        choices=[label.name.lower() for label in Label],
        help='of branches that are wanted',
    )
    parser.add_argument('--successful', action='store_true', help='only episodes that succeeded')
    parser.add_argument(
        '--least-fidelity', type=float, default=0.0, help='of frames to learn from, 0 to 1'
    )
    parser.add_argument('--json', type=Path, help='where the figures go')
    return parser.parse_args(given)


def main() -> int:
    """Entry point; goes on in LeRobot's environment."""
    given = arguments()
    return run_command('export_lerobot', lambda: _export(given), 'stopped; nothing was written')


def _export(given: argparse.Namespace) -> int:
    if not has_lerobot():
        command, environment = lerobot_command('hiwm_core.export_lerobot', sys.argv[1:])
        os.execve(command[0], command, environment)
    figures = export(
        given.sessions,
        given.out,
        load_task(given.task),
        Wanted(
            labels=frozenset(Label[name.upper()] for name in given.labels),
            successful=given.successful,
            least_fidelity=given.least_fidelity,
        ),
        weighting=Weighting(given.weighting),
        video=given.video,
    )
    if given.json is not None:
        write_json(given.json, figures)
    print(
        f'{given.out}: {figures["episodes"]} episodes, {figures["steps"]} steps, '
        f'{figures["weighted_steps"]} of them to learn from'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
