# SPDX-License-Identifier: Apache-2.0
"""`ros2 launch`: run a launch file of a package, or one given by its path."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import (
    InvalidPythonLaunchFileError,
    PythonLaunchDescriptionSource,
    get_launch_description_from_python_launch_file,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, upstream's."""
    parser.add_argument(
        '-n', '--noninteractive', action='store_true', help='the terminal will not be used'
    )
    parser.add_argument('-d', '--debug', action='store_true', help='say more, with tracebacks')
    parser.add_argument(
        '-s',
        '--show-args',
        '--show-arguments',
        action='store_true',
        help='show the arguments of the launch file',
    )
    parser.add_argument(
        '-a',
        '--show-all-subprocesses-output',
        action='store_true',
        help="show every process's output, whatever the launch file says",
    )
    parser.add_argument(
        'package_name', help='the package that holds the launch file, or the path of a launch file'
    )
    parser.add_argument('launch_file_name', nargs='?', help='the name of the launch file')
    parser.add_argument(
        'launch_arguments',
        nargs='*',
        help="'<name>:=<value>'; of several with one name the last one counts",
    )


def run(args: argparse.Namespace) -> int:
    """Launch, or show the arguments; returns the exit code.

    It is 0 when the launch was ended by a signal or had nothing left to run, and 1 when it met an
    error or ended because a process failed.
    """
    path, arguments = find_launch_file(args)
    if args.show_args:
        show_arguments(path)
        return 0
    if args.show_all_subprocesses_output:
        os.environ['OVERRIDE_LAUNCH_PROCESS_OUTPUT'] = 'both'
    launch_arguments = parse_launch_arguments(arguments)
    try:
        service = LaunchService(
            argv=arguments, noninteractive=args.noninteractive, debug=args.debug
        )
    except OSError as error:
        raise RuntimeError(str(error)) from None
    include = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(path)), launch_arguments=launch_arguments.items()
    )
    service.include_launch_description(LaunchDescription([include]))
    return service.run()


def find_launch_file(args: argparse.Namespace) -> tuple[Path, list[str]]:
    """Return the launch file and the launch arguments.

    Raises:
        RuntimeError: there is no such package or file, or several of that name.
    """
    first, second = args.package_name, args.launch_file_name
    try:
        share = get_package_share_directory(first)
    except (PackageNotFoundError, ValueError):
        if Path(first).is_file():
            return Path(first), ([second] if second is not None else []) + args.launch_arguments
        if second is None or '/' in first:
            raise RuntimeError(f"there is no launch file '{first}'") from None
        raise RuntimeError(
            f"package '{first}' not found; source the workspace that has it (source env.bash)"
        ) from None
    found = sorted(path for path in Path(share).rglob('*') if path.is_file())
    names = ', '.join(path.name for path in found if path.name.endswith('launch.py')) or 'none'
    if second is None:
        raise RuntimeError(f"name a launch file of package '{first}'; it has: {names}")
    matching = [path for path in found if path.name == second]
    if not matching:
        raise RuntimeError(
            f"file '{second}' was not found in the share directory of package '{first}' which is "
            f"at '{share}'; its launch files: {names}"
        )
    if len(matching) > 1:
        paths = ', '.join(map(str, matching))
        raise RuntimeError(
            f"file '{second}' was found more than once in the share directory of package "
            f"'{first}': {paths}"
        )
    return matching[0], args.launch_arguments


def parse_launch_arguments(arguments: list[str]) -> dict[str, str]:
    """Split `name:=value` arguments.

    Raises:
        RuntimeError: an argument has another form.
    """
    parsed = {}
    for argument in arguments:
        name, separator, value = argument.partition(':=')
        if not name or not separator or not value:
            raise RuntimeError(
                f"malformed launch argument '{argument}', expected format '<name>:=<value>'"
            )
        parsed[name] = value
    return parsed


def show_arguments(path: Path) -> None:
    """Print the arguments of a launch file, in upstream's form.

    Raises:
        RuntimeError: the file is not a launch file.
    """
    try:
        description = get_launch_description_from_python_launch_file(str(path))
    except InvalidPythonLaunchFileError as error:
        raise RuntimeError(str(error)) from None
    arguments = description.get_launch_arguments()
    print("Arguments (pass arguments as '<name>:=<value>'):")
    for argument in arguments:
        mark = '*' if argument._conditionally_included else ''
        print(f"\n    '{argument.name}':{mark}\n        {argument.description}", end='')
        if argument.default_value is not None:
            print(f'\n        (default: {argument.default_value.describe()})', end='')
        print()
    if not arguments:
        print('\n  No arguments.')
    elif any(argument._conditionally_included for argument in arguments):
        print('\n* argument(s) which are only used if specific conditions occur')
