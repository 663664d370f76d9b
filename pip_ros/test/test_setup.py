# SPDX-License-Identifier: Apache-2.0
"""Setting up is idempotent and resumes: an environment that is nearly there is completed."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[2]
COMPLETE = ROOT / '.venv' / '.complete'


def set_up(
    *arguments: str, root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the set-up as `make` does."""
    return subprocess.run(
        ['bash', str(root / 'pip_ros' / 'setup.sh'), *arguments],
        env=os.environ | environment,
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


def checkout(folder: Path) -> Path:
    """What the set-up reads of a checkout, in another folder."""
    shutil.copytree(
        ROOT / 'pip_ros', folder / 'pip_ros', ignore=shutil.ignore_patterns('test', '__pycache__')
    )
    return folder


def test_a_path_with_a_space_is_refused(tmp_path: Path) -> None:
    result = set_up('--quiet', root=checkout(tmp_path / 'my robots'))
    assert result.returncode == 1
    assert result.stderr.startswith('setup: the path ') and 'has a space' in result.stderr
    assert result.stderr.count('\n') == 1


@pytest.mark.skipif('HIWM_PIP_ROS' not in os.environ, reason='ROS is installed here')
def test_an_environment_that_was_copied_from_elsewhere_is_made_anew(tmp_path: Path) -> None:
    """Its scripts begin with the other one's path."""
    root = checkout(tmp_path / 'copy')
    settings = root / '.venv' / 'pyvenv.cfg'
    (root / '.venv' / 'bin').mkdir(parents=True)
    (root / '.venv' / 'bin' / 'python').symlink_to(sys.executable)
    settings.write_text('command = /usr/bin/python3 -m venv /elsewhere/.venv\n')
    # A Python that makes no environment: what is looked at is what comes before.
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/sh\n[ "$1 $2" = "-m venv" ] && exit 9\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    result = set_up('--quiet', root=root, HIWM_PYTHON=str(python))
    assert result.returncode == 9, result.stderr
    assert not settings.exists()


@pytest.mark.skipif('HIWM_PIP_ROS' not in os.environ, reason='ROS is installed here')
def test_an_environment_is_the_same_when_it_is_entered_through_a_link(tmp_path: Path) -> None:
    root = checkout(tmp_path / 'real')
    settings = root / '.venv' / 'pyvenv.cfg'
    (root / '.venv' / 'bin').mkdir(parents=True)
    settings.write_text(f'command = /usr/bin/python3 -m venv {root / ".venv"}\n')
    # Neither installs anything: what is looked at is what comes before.
    python = root / '.venv' / 'bin' / 'python'
    for program in (python, tmp_path / 'python'):
        program.write_text(f'#!/bin/sh\n[ "$1" = "-m" ] && exit 9\nexec {sys.executable} "$@"\n')
        program.chmod(0o755)
    link = tmp_path / 'link'
    link.symlink_to(root)
    result = set_up('--quiet', root=link, HIWM_PYTHON=str(tmp_path / 'python'))
    assert 'could not be fetched' in result.stderr
    assert settings.exists()
