# SPDX-License-Identifier: Apache-2.0
"""Reading of Python launch files."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import TYPE_CHECKING

from ..unsupported import sentence

if TYPE_CHECKING:
    from ..launch_description import LaunchDescription


class InvalidPythonLaunchFileError(Exception):
    """The file is not a Python launch file, or fails when it is read."""


def get_launch_description_from_python_launch_file(path: str) -> LaunchDescription:
    """Run the file and return what its `generate_launch_description()` returns.

    Raises:
        InvalidPythonLaunchFileError: the file is not Python, fails, or lacks that function.
    """
    from ..launch_description import LaunchDescription  # noqa: PLC0415  (a cycle otherwise)

    if Path(path).suffix in ('.xml', '.yaml', '.yml'):
        raise InvalidPythonLaunchFileError(sentence(f"the format of the launch file '{path}'"))
    loader = SourceFileLoader('python_launch_file', path)
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    try:
        loader.exec_module(module)
        generate = getattr(module, 'generate_launch_description', None)
        description = None if generate is None else generate()
    except Exception as error:
        raise InvalidPythonLaunchFileError(
            f"the launch file '{path}' failed: {type(error).__name__}: {error}"
        ) from error
    if generate is None:
        raise InvalidPythonLaunchFileError(
            f"launch file at '{path}' does not contain the required function "
            f"'generate_launch_description()'"
        )
    if not isinstance(description, LaunchDescription):
        raise InvalidPythonLaunchFileError(
            f"generate_launch_description() of '{path}' returned {type(description).__name__}, "
            f'expected a LaunchDescription'
        )
    return description
