# SPDX-License-Identifier: Apache-2.0
"""A set of episodes on disk: which there are, which are missing, who drives in them.

Each episode is a folder of its own, named after its kind and seed. It is written under
`.unfinished` and renamed when it is complete, so that what can be seen is whole; an interrupted
collection goes on with the seeds that are missing. An episode is a function of task, kind, steps,
policy and its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
import json
import multiprocessing
import os
from pathlib import Path
import shutil
import signal

import yaml

from hiwm_core.backend import Backend
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.extension import open_policy
from hiwm_core.policy import Policy
from hiwm_core.task import Task, load_task
from hiwm_robot.driver import NOISY_SKILL, ExpertDriver, NoisyExpertDriver, PolicyDriver
from hiwm_robot.play import EDGE, PlayDriver
from hiwm_robot.sims import load_expert, load_simulator
from hiwm_robot.trajectory import Driver, Trajectory, run_episode

KINDS = ('demo', 'play', 'edge', 'policy')
SETTINGS_NAME = 'collection.json'
UNFINISHED_NAME = '.unfinished'
METADATA_NAME = 'metadata.yaml'


@dataclass(frozen=True)
class Settings:
    """What makes an episode, beside its seed.

    Attributes:
        task: The task's name.
        kind: One of KINDS.
        steps: An episode ends after so many.
        policy: Folder of the weights of the policy that drives; empty: an expert made bad on
            purpose.
    """

    task: str
    kind: str
    steps: int
    policy: str = ''

    @property
    def until_success(self) -> bool:
        """Whether an episode ends when the task is done."""
        return self.kind in {'demo', 'policy'}


@dataclass(frozen=True)
class Job:
    """One episode to make, and where it goes."""

    settings: Settings
    seed: int
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What became of one episode."""

    seed: int
    success: bool
    steps: int


def episode_folder(out: Path, kind: str, seed: int) -> Path:
    """Where the episode of a seed lies."""
    return out / f'{kind}_{seed:08d}'


def prepare(out: Path, settings: Settings) -> None:
    """Make the folder, or check that what it holds was made with the same settings.

    Raises:
        HiwmError: It cannot be made or written to, or holds other episodes.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        path = out / SETTINGS_NAME
        if path.exists():
            known = json.loads(path.read_text(encoding='utf-8'))
            if known != asdict(settings):
                differences = ', '.join(
                    f'{name} {known.get(name)!r} and not {value!r}'
                    for name, value in asdict(settings).items()
                    if known.get(name) != value
                )
                raise ConfigurationError(
                    f'{out} holds episodes with {differences}; name another folder'
                )
        else:
            temporary = path.with_suffix('.tmp')
            temporary.write_text(json.dumps(asdict(settings), indent=2) + '\n', encoding='utf-8')
            temporary.replace(path)
    except OSError as error:
        raise HiwmError(
            f'{out} cannot be used ({error.strerror}); name a folder that you may write to',
            ErrorCode.STORAGE_FAULT,
        ) from error
    except ValueError as error:
        raise ConfigurationError(
            f'{out / SETTINGS_NAME} cannot be read ({error}); name another folder'
        ) from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise HiwmError(
            f'{out} cannot be written to; name a folder that you may write to',
            ErrorCode.STORAGE_FAULT,
        )


def finished_outcome(job: Job) -> Outcome | None:
    """What became of an episode, from its metadata; None if it is not there yet."""
    path = job.folder / METADATA_NAME
    if not path.exists():
        return None
    try:
        information = yaml.safe_load(path.read_text())['rosbag2_bagfile_information']
        custom = information['custom_data']
        return Outcome(job.seed, custom['success'] == 'true', int(custom['steps']))
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise HiwmError(
            f'{path} cannot be read ({error!r}); delete {job.folder} and collect again',
            ErrorCode.STORAGE_FAULT,
        ) from error


@contextmanager
def unfinished(job: Job) -> Iterator[Path]:
    """A folder to write the episode in, which becomes `job.folder` if nothing is raised."""
    folder = job.folder.parent / UNFINISHED_NAME / job.folder.name
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
        folder.rename(job.folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # it holds another process's episode
            folder.parent.rmdir()


# -- driving -------------------------------------------------------------------------------------


@cache
def _simulator(task: str) -> tuple[Task, Backend]:
    loaded = load_task(task)
    return loaded, load_simulator(loaded)


@cache
def _policy(task: str, folder: str) -> Policy:
    return open_policy(load_task(task), folder)


def make_driver(settings: Settings, seed: int) -> Driver:
    """Who drives in the episode of a seed. Raises HiwmError."""
    task, _ = _simulator(settings.task)
    if settings.kind == 'demo':
        return ExpertDriver(load_expert(task, seed))
    if settings.kind == 'play':
        return PlayDriver(task, seed)
    if settings.kind == 'edge':
        return PlayDriver(task, seed, EDGE, 'edge')
    if settings.policy:
        return PolicyDriver(_policy(settings.task, settings.policy), seed)
    return NoisyExpertDriver(task, load_expert(task, seed, NOISY_SKILL), seed)


def drive(job: Job) -> tuple[Task, str, Trajectory]:
    """Run the episode of a job; returns the task, the rig's name and what happened."""
    settings = job.settings
    task, backend = _simulator(settings.task)
    trajectory = run_episode(
        task,
        backend,
        make_driver(settings, job.seed),
        job.seed,
        settings.steps,
        until_success=settings.until_success,
    )
    return task, backend.name, trajectory


# -- many episodes -------------------------------------------------------------------------------


def run_jobs(jobs: list[Job], make: Callable[[Job], Outcome], workers: int) -> Iterator[Outcome]:
    """Make every episode in processes of their own; outcomes come as they are ready.

    Interrupted, processes finish the episodes that they are at, and those are kept.

    Args:
        make: Writes one episode; a function of a module, so that other processes can import it.
    """
    # Also for one: an interrupt inside the physics' or the drawing's callbacks would be lost there.
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context('spawn'), initializer=_ignore_interrupt
    )
    running: set[Future[Outcome]] = set()
    try:
        waiting = iter(jobs)
        while True:
            while len(running) < 2 * workers and (job := next(waiting, None)) is not None:
                running.add(pool.submit(make, job))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupt() -> None:
    """Ctrl-C reaches every process of the terminal; the first one decides what to do about it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
