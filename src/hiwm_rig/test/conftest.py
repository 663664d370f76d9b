# SPDX-License-Identifier: Apache-2.0
"""What the tests of the rig share: a live node around a small backend, and rigs as processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
import sys

import pytest
from test.probe import Probe
from test.process import Process

sys.path.insert(0, str(Path(__file__).parents[2] / 'hiwm_core' / 'test'))
sys.path.insert(0, str(Path(__file__).parent))

from live_rig import LiveRig, Pliable

from hiwm_core.task import Task, load_task

TEST_FOLDERS = sys.path[:2]


@pytest.fixture
def task() -> Task:
    """The task that rigs run unless told otherwise."""
    return load_task('pusht')


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., LiveRig]]:
    """Starts a rig node in this process, with a probe and parameters as on a command line.

    Around the backend that `make_backend` gives, where it is named.
    """
    with ExitStack() as stack:

        def launch(
            make_backend: Callable[[Task], Pliable] = Pliable, **parameters: object
        ) -> LiveRig:
            arguments = ['rig', '--ros-args']
            for name, value in parameters.items():
                arguments += ['-p', f'{name}:={value}']
            monkeypatch.setattr(sys, 'argv', arguments)
            probe = stack.enter_context(Probe())
            return stack.enter_context(LiveRig(probe, make_backend(probe.task)))

        yield launch


@pytest.fixture
def process(tmp_path: Path) -> Callable[..., Process]:
    """A rig as a process of its own: Python text that defines `make`, run by `run_node`."""

    def process(make: str, *arguments: str) -> Process:
        script = tmp_path / 'small_rig'
        script.write_text(
            f'import sys\nsys.path[:0] = {TEST_FOLDERS!r}\n'
            'from hiwm_rig.base_node import *\nfrom hiwm_rig.rig_node import RigNode\n'
            'from hiwm_core.parameter import Parameter\nfrom point_mass import PointMass\n'
            f'{make}\nsys.exit(run_node(make))\n'
        )
        command = [sys.executable, str(script), '--ros-args', *arguments]
        return Process(command, tmp_path / 'output')

    return process
