# SPDX-License-Identifier: Apache-2.0
"""The stages of a study: commands that wait for one another, else run beside each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
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
    """

    name: str
    command: Callable[[], list[str]]
    makes: Path
    needs: tuple[str, ...] = ()
    always: bool = False


def done_stages(stages: Sequence[Stage]) -> set[str]:
    """Names of the stages that need not run: their file is there, and all they need is done."""
    by_name = {stage.name: stage for stage in stages}

    def done(stage: Stage) -> bool:
        made = stage.makes.exists() and not stage.always
        return made and all(done(by_name[name]) for name in stage.needs)

    return {stage.name for stage in stages if done(stage)}


def set_aside(stages: Sequence[Stage]) -> list[str]:
    """Rename the files of stages that are not done, or no longer, lest they be taken for new ones.

    It is done before anything runs: after an interruption nothing else would tell them apart.

    Returns:
        The names of the stages that were done and are no longer.
    """
    done = done_stages(stages)
    outdated = [stage for stage in stages if stage.name not in done and stage.makes.exists()]
    for stage in outdated:
        stage.makes.replace(stage.makes.with_name(f'{stage.makes.name}.old'))
    return [stage.name for stage in outdated if not stage.always]


def run_of(package: str, program: str, *arguments: object) -> Callable[[], list[str]]:
    """A command that is known beforehand."""
    return lambda: ['ros2', 'run', package, program, *map(str, arguments)]


def run_stages(stages: Sequence[Stage], logs: Path, workers: int) -> None:
    """Run what is not done, so many at a time; what such a stage had made before is set aside.

    Raises:
        HiwmError: A stage failed; its log is named. Those that ran beside it are completed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    set_aside(stages)
    done = done_stages(stages)
    waiting = [stage for stage in stages if stage.name not in done]
    running: dict[str, tuple[Stage, subprocess.Popen[bytes]]] = {}
    failed: list[Stage] = []
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
                            stage.command(), stdout=log, stderr=log, env=environment
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
                        failed.append(stage)
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGINT)
        for _, process in running.values():
            process.wait()
    if failed:
        stage = failed[0]
        path = _log(logs, stage)
        raise HiwmError(f"the stage '{stage.name}' failed ({_last_line(path)}); its log is {path}")


def _log(logs: Path, stage: Stage) -> Path:
    return logs / f'{stage.name.replace(" ", "_")}.log'


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding='utf-8', errors='replace').replace('\r', '\n').split('\n')
    return next((line for line in reversed(lines) if line.strip()), 'it said nothing')
