# SPDX-License-Identifier: Apache-2.0
"""Interrupting an executable while it still imports."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys

import pytest

SLOW = """
import time
print('importing', flush=True)
time.sleep({pause})

def main():
    try:
        print('running', flush=True)
        time.sleep({work})
    except KeyboardInterrupt:
        print('interrupted', flush=True)
        return 7
    return 3
"""


def started(folder: Path, pause: float, work: float) -> subprocess.Popen[str]:
    (folder / 'slow.py').write_text(SLOW.format(pause=pause, work=work))
    return subprocess.Popen(
        [sys.executable, '-c', "from hiwm_core.program import program; program('slow')()"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_modules_main_decides_the_exit_code(tmp_path: Path) -> None:
    process = started(tmp_path, 0, 0)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (3, 'importing\nrunning\n', '')


@pytest.mark.parametrize(
    ('line', 'code', 'rest'), [('importing\n', 0, ''), ('running\n', 7, 'interrupted\n')]
)
def test_an_interrupt_is_never_a_traceback(tmp_path: Path, line: str, code: int, rest: str) -> None:
    importing = line == 'importing\n'
    process = started(tmp_path, 60 if importing else 0, 0 if importing else 60)
    assert process.stdout is not None
    while process.stdout.readline() != line:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (code, rest, '')
