# SPDX-License-Identifier: Apache-2.0
"""Setting up is idempotent and resumes: an environment that is nearly there is completed."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess

import pytest

ROOT = Path(__file__).parents[2]
COMPLETE = ROOT / '.venv' / '.complete'


def set_up(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the set-up as `make` does."""
    return subprocess.run(
        ['bash', str(ROOT / 'pip_ros' / 'setup.sh'), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=170,
    )


@pytest.mark.skipif('HIWM_PIP_ROS' not in os.environ, reason='ROS is installed here')
def test_an_environment_whose_set_up_was_cut_short_is_completed() -> None:
    before = COMPLETE.read_text()
    COMPLETE.unlink()
    result = set_up('--quiet')
    assert result.returncode == 0, result.stdout + result.stderr
    assert COMPLETE.read_text() == before


@pytest.mark.skipif('HIWM_PIP_ROS' not in os.environ, reason='ROS is installed here')
def test_what_is_ready_is_left_alone() -> None:
    result = set_up('--quiet')
    assert (result.returncode, result.stdout, result.stderr) == (0, '', '')


def test_an_unknown_argument_gets_one_sentence() -> None:
    result = set_up('--louder')
    assert result.returncode == 2
    assert result.stderr == "setup.sh: unknown argument '--louder' (known: --quiet, --test)\n"
