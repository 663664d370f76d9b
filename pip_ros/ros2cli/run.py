# SPDX-License-Identifier: Apache-2.0
"""`ros2 run`: run an executable of a package.

This process becomes the executable, so that signals and the exit code are the executable's own.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import shlex
import signal
import sys

from ament_index_python.packages import PackageNotFoundError, get_package_prefix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, upstream's."""
    parser.add_argument('--prefix', help="a command before the executable, such as 'gdb -ex run'")
    parser.add_argument('package_name', help='the package')
    parser.add_argument('executable_name', help='the executable')
    parser.add_argument('argv', nargs=argparse.REMAINDER, help='arguments of the executable')


def run(args: argparse.Namespace) -> int:
    """Become the executable.

    Raises:
        RuntimeError: there is no such package or executable, or it cannot be run.
    """
    path = find_executable(args.package_name, args.executable_name)
    command = [*shlex.split(args.prefix or ''), str(path), *args.argv]
    # Python's own handler would be lost at exec, an ignored signal would stay ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    sys.stdout.flush()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise RuntimeError(f"'{command[0]}' cannot be run: {error.strerror}") from None


def find_executable(package: str, name: str) -> Path:
    """Return the path of a package's executable.

    Raises:
        RuntimeError: there is no such package, no such executable, or several of that name.
    """
    try:
        folder = Path(get_package_prefix(package)) / 'lib' / package
    except (PackageNotFoundError, ValueError):
        raise RuntimeError(
            f"package '{package}' not found; source the workspace that has it (source env.bash)"
        ) from None
    executables = sorted(
        path for path in folder.rglob('*') if path.is_file() and os.access(path, os.X_OK)
    )
    matching = [path for path in executables if path.name == name]
    if not matching:
        names = ', '.join(path.name for path in executables) or 'none'
        raise RuntimeError(f"package '{package}' has no executable '{name}'; it has: {names}")
    if len(matching) > 1:
        raise RuntimeError(f'several executables: {", ".join(map(str, matching))}')
    return matching[0]
