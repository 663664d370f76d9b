# SPDX-License-Identifier: Apache-2.0
"""LeRobot's own environment, and how a command gets there.

LeRobot pins versions of torch and others that the workspace does not have, so it lives in
`.venv-lerobot`, which `make lerobot` makes. A command that needs it runs there: what it imports of
this project is `hiwm_core` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
import os
from pathlib import Path

import hiwm_core
from hiwm_core.error import ConfigurationError

VARIABLE = 'HIWM_LEROBOT'
NAME = '.venv-lerobot'


def has_lerobot() -> bool:
    """Whether this process can import it."""
    return find_spec('lerobot') is not None


def lerobot_python() -> Path:
    """The interpreter that has LeRobot: of the environment that HIWM_LEROBOT names, else the extra.

    Raises:
        ConfigurationError: There is none.
    """
    named = os.environ.get(VARIABLE)
    folders = (
        [Path(named).expanduser()]
        if named
        else [parent / NAME for parent in Path(hiwm_core.__file__).resolve().parents]
    )
    for folder in folders:
        python = folder / 'bin' / 'python'
        if python.is_file():
            return python
    raise ConfigurationError(
        f'{VARIABLE} names {named}, which has no bin/python'
        if named
        else f'LeRobot is not installed; `make lerobot` installs it, or {VARIABLE} names the '
        'environment that has it'
    )


def lerobot_command(module: str, arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """What runs a module of this package in LeRobot's environment: the command, and its variables.

    Raises:
        ConfigurationError: There is no such environment.
    """
    # What a sourced workspace sets (paths of another Python's packages) must not reach in there.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {'PYTHONHOME', 'LD_LIBRARY_PATH', 'VIRTUAL_ENV'}
    }
    # Data sets lie on this disk; nothing is asked of, or sent to, a hub.
    environment['HF_HUB_OFFLINE'] = '1'
    environment['PYTHONPATH'] = str(Path(hiwm_core.__file__).resolve().parents[1])
    return [str(lerobot_python()), '-m', module, *arguments], environment
