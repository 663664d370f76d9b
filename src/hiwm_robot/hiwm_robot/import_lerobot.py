# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_robot import_lerobot`: a LeRobotDataset's episodes as demonstrations, a bag each.

An episode of R rows gives R frames and the R - 1 actions between them. Run the same command again
to go on with an interrupted import.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from tqdm import tqdm

from hiwm_core import contract
from hiwm_core.action import Source, clip_values
from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.lerobot_dataset import LeRobotEpisode
from hiwm_core.lerobot_dump import load_dump
from hiwm_core.lerobot_environment import lerobot_command
from hiwm_core.observation import Observation
from hiwm_core.task import FloatArray, Task, load_task
from hiwm_rig.message_bag import MessageBag
from hiwm_robot.episode_bag import write_episode

DEVICE = 'lerobot'
UNFINISHED = '.unfinished'


def import_dataset(dataset: Path, out: Path, task: Task) -> int:
    """Write a bag for each episode that has none yet; returns how many there are.

    Raises:
        HiwmError: The data set cannot be read or does not fit the task, or a bag cannot be written.
    """
    unfinished = out / UNFINISHED
    number = -1
    try:
        for number, episode in enumerate(
            tqdm(_episodes(dataset, task), desc='importing', unit='episode')
        ):
            folder = out / f'demo_{number:08d}'
            if folder.exists():
                continue
            shutil.rmtree(unfinished, ignore_errors=True)
            write_bag(episode, unfinished, task, folder.name)
            unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if number < 0:
        raise ConfigurationError(f'the data set {dataset} has no episode')
    return number + 1


def write_bag(episode: LeRobotEpisode, folder: Path, task: Task, session: str) -> None:
    """One demonstration. Raises HiwmError."""
    steps = len(episode.frames) - 1
    known = episode.scene.shape[1] == len(task.scene)
    actions = episode.actions[:steps].astype(np.float64)
    check_units(task, actions)
    observations = [
        Observation(
            frame=np.ascontiguousarray(episode.frames[row]),
            joints=episode.joints[row].astype(np.float64),
            scene=episode.scene[row].astype(np.float64) if known else np.empty(0),
        )
        for row in range(steps + 1)
    ]
    custom_data = {
        'kind': 'demo',
        'task': task.name,
        'session': session,
        'success': 'true' if episode.success else 'false',
        'steps': str(steps),
    }
    with MessageBag(folder, contract.RIG_TOPICS, custom_data) as bag:
        write_episode(
            bag,
            task,
            observations=observations,
            actions=[clip_values(task, values) for values in actions],
            sources=[Source(int(source)) for source in episode.sources[:steps]],
            device=DEVICE,
            rig=DEVICE,
            session=session,
            seed=-1,
        )


def check_units(task: Task, actions: FloatArray) -> None:
    """Whether actions (T, A) are in the task's units: what is a whole range away is not.

    Raises:
        HiwmError: One is not; the sentence names it.
    """
    room = task.action_high - task.action_low
    outside = np.maximum(task.action_low - actions, actions - task.action_high).max(0, initial=0.0)
    for column in np.flatnonzero(outside > room):
        variable = task.actions[column]
        extreme = actions[np.abs(actions[:, column]).argmax(), column]
        raise HiwmError(
            f"the action '{variable.name}' of the data set is {extreme:g} where the task's limits "
            f'are {variable.low:g} to {variable.high:g} {variable.unit}; '
            'convert the data set to that unit first'
        )


def _episodes(dataset: Path, task: Task) -> Iterator[LeRobotEpisode]:
    """What LeRobot's environment reads, as it reads it."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as errors:
        command, environment = lerobot_command(
            'hiwm_core.lerobot_dump',
            ['--dataset', str(dataset), '--task', task.name, '--out', folder],
        )
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    path = Path(line.strip())
                    if path.suffix == '.npz':
                        yield load_dump(path)
                        path.unlink()
            except BaseException:
                child.terminate()
                raise
        if child.returncode:
            errors.seek(0)
            said = errors.read().decode(errors='replace').strip().splitlines()
            raise HiwmError(said[-1] if said else f'{dataset} could not be read')


def main(given: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = Parser(prog='import_lerobot', description=__doc__)
    parser.add_argument('--dataset', type=Path, required=True, help="the data set's folder")
    parser.add_argument('--out', type=Path, required=True, help='where the bags go')
    parser.add_argument('--task', default='pusht', help='which task, by name')
    options = parser.parse_args(given)
    return run_command(
        'import_lerobot',
        lambda: _import(options),
        'interrupted; run the same command again to continue',
    )


def _import(options: argparse.Namespace) -> int:
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        count = import_dataset(options.dataset, options.out, load_task(options.task))
    except OSError as error:
        raise HiwmError(f'{options.out} cannot be used: {error.strerror}') from error
    print(f'{options.out}: {count} demonstrations')
    return 0


if __name__ == '__main__':
    sys.exit(main())
