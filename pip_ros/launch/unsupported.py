# SPDX-License-Identifier: Apache-2.0
"""The sentence with which the stand-ins refuse what they leave out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn


def sentence(thing: str) -> str:
    """Say that `thing` needs the real packages."""
    return (
        f'{thing} is not part of the launch stand-in in pip_ros (see pip_ros/README.md); '
        f'a ROS 2 Jazzy installation has it'
    )


def refuse_other_names(module: str) -> Callable[[str], NoReturn]:
    """Give a module's `__getattr__`: an unknown class raises an ImportError that names it."""

    def refuse(name: str) -> NoReturn:
        # Only classes are refused by sentence: submodules and dunders must fail in the usual way,
        # because the import system asks for them and expects AttributeError.
        if name[:1].isupper():
            raise ImportError(sentence(f"'{module}.{name}'"))
        raise AttributeError(f"module '{module}' has no attribute '{name}'")

    return refuse
