# SPDX-License-Identifier: Apache-2.0
"""The stages of a study: commands that wait for one another, else run beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
import signal
import subprocess
import time

from tqdm import tqdm

from hiwm_core.error import HiwmError

POLL_SECONDS = 0.5


@dataclass(frozen=True, eq=False)
class Stage:
    """One command.

    Attributes:
        name: Of the stage and its log.
        command: Makes the command line when the stages that it needs are done.
        makes: The file that it writes last.
        needs: Names of the stages before it.
        always: It runs also where its file is there.
        folder: What it goes on with after an interruption, if that must not be of something else.
    """

    name: str
    command: Callable[[], list[str]]
    makes: Path
    needs: tuple[str, ...] = ()
    always: bool = False
    folder: Path | None = None


def done_stages(stages: Sequence[Stage]) -> set[str]:
    """Names of the stages that need not run: their file is there, and all they need is done."""
    by_name = {stage.name: stage for stage in stages}

    def done(stage: Stage) -> bool:
        made = stage.makes.exists() and not stage.always
        return made and all(done(by_name[name]) for name in stage.needs)

    return {stage.name for stage in stages if done(stage)}


def set_aside(stages: Sequence[Stage]) -> list[str]:
    """Rename what is of stages that are not done, or no longer, lest it be taken for something new.

    It is done before anything runs: after an interruption nothing else would tell it apart. What a
    stage goes on with stays as long as all that it needs is done.

    Returns:
        The names of the stages that were done and are no longer.
    """
    done = done_stages(stages)
    outdated = [stage for stage in stages if stage.name not in done and stage.makes.exists()]
    for stage in stages:
        waits = stage in outdated or not done.issuperset(stage.needs)
        if waits and stage.folder is not None and stage.folder.exists():
            _rename(stage.folder)
        if stage in outdated and stage.makes.exists():
            _rename(stage.makes)
    return [stage.name for stage in outdated if not stage.always]


def _rename(path: Path) -> None:
    old = path.with_name(f'{path.name}.old')
    if old.is_dir():
        shutil.rmtree(old)
    path.replace(old)


def run_of(package: str, program: str, *arguments: object) -> Callable[[], list[str]]:
    """A command that is known beforehand."""
    return lambda: ['ros2', 'run', package, program, *map(str, arguments)]


def run_stages(stages: Sequence[Stage], logs: Path, workers: int, held: Sequence[int] = ()) -> None:
    """Run what is not done, so many at a time; what such a stage had made before is set aside.

    Args:
        held: File descriptors that a stage keeps open for as long as it lives.

    Raises:
        HiwmError: A stage failed; its log is named. Those that ran beside it are completed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    set_aside(stages)
    done = done_stages(stages)
    waiting = [stage for stage in stages if stage.name not in done]
    running: dict[str, tuple[Stage, subprocess.Popen[bytes]]] = {}
    failed: list[tuple[Stage, int]] = []
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    try:
        with tqdm(total=len(stages), initial=len(done), unit='stage', desc='study') as bar:
            while running or (waiting and not failed):
                ready = [stage for stage in waiting if done.issuperset(stage.needs)]
                while ready and len(running) < workers and not failed:
                    stage = ready.pop(0)
                    waiting.remove(stage)
                    with _log(logs, stage).open('wb') as log:
                        process = subprocess.Popen(
                            stage.command(),
                            stdout=log,
                            stderr=log,
                            env=environment,
                            pass_fds=tuple(held),
                        )
                    running[stage.name] = (stage, process)
                bar.set_postfix_str(', '.join(running))
                time.sleep(POLL_SECONDS)
                for name, (stage, process) in list(running.items()):
                    if process.poll() is None:
                        continue
                    del running[name]
                    if process.returncode == 0 and stage.makes.exists():
                        done.add(name)
                        bar.update()
                    else:
                        failed.append((stage, process.returncode))
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGINT)
        for _, process in running.values():
            process.wait()
    if failed:
        stage, code = failed[0]
        path = _log(logs, stage)
        why = f'ended by {signal.Signals(-code).name}' if code < 0 else _last_line(path)
        raise HiwmError(f"the stage '{stage.name}' failed ({why}); its log is {path}")


def _log(logs: Path, stage: Stage) -> Path:
    return logs / f'{stage.name.replace(" ", "_")}.log'


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding='utf-8', errors='replace').replace('\r', '\n').split('\n')
    return next((line for line in reversed(lines) if line.strip()), 'it said nothing')
