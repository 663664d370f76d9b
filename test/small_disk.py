# SPDX-License-Identifier: Apache-2.0
"""A small disk of its own for a command, to be filled: a RAM disk that only its processes see."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess

SCRIPT = """
disk=$1; kept=$2; megabytes=$3; shift 3
mount -t tmpfs -o size=${megabytes}m tmpfs "$disk" || exit 99
trap : INT
"$@"
code=$?
rm -f "$disk/ballast"
cp -r "$disk/." "$kept"
exit $code
"""


class SmallDisk:
    """The disk.

    Args:
        folder: Gets the disk, and when the command has ended what was on it.
        megabytes: Its size.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.disk = folder / 'disk'
        self.kept = folder / 'kept'
        self._megabytes = megabytes
        self.disk.mkdir()
        self.kept.mkdir()

    @staticmethod
    def is_possible() -> bool:
        """Whether this machine lets us have one."""
        mount = ['unshare', '-rm', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt']
        try:
            return subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return False

    def around(self, command: list[str]) -> list[str]:
        """The command, with the disk at `disk`."""
        places = [str(self.disk), str(self.kept), str(self._megabytes)]
        return ['unshare', '-rm', 'sh', '-c', SCRIPT, 'sh', *places, *command]

    def fill(self, pid: int, megabytes: int) -> None:
        """Take so much of the room that a running process of the command has."""
        inside = Path(f'/proc/{pid}/root{self.disk}') / 'ballast'
        with inside.open('wb') as ballast:
            os.posix_fallocate(ballast.fileno(), 0, megabytes * 1_000_000)
