# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_core sessions --list`: what recorded sessions hold. Needs no ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import sys

from tqdm import tqdm

from hiwm_core.bag_reader import find_all_bags
from hiwm_core.command import Parser, run_command
from hiwm_core.episodes import sessions_of
from hiwm_core.json_file import write_json
from hiwm_core.session_table import RECOVERED, WHOLE, session_rows, table_text


def list_sessions(folders: Sequence[Path], json_path: Path | None = None) -> int:
    """Print the table; returns the exit code: 1 if no session can be read.

    Raises:
        HiwmError: A folder is not there, none holds a bag, or the JSON cannot be written.
    """
    sessions = sessions_of(find_all_bags(folders))
    rows = [
        row
        for bags in tqdm(sessions, desc='reading', unit='session', disable=len(sessions) < 2)
        for row in session_rows(bags)
    ]
    print(table_text(rows))
    if json_path is not None:
        write_json(json_path, {'sessions': [row.as_dict() for row in rows]})
    return 0 if any(row.state in {WHOLE, RECOVERED} for row in rows) else 1


def main() -> int:
    """Entry point."""
    parser = Parser(prog='sessions', description=__doc__)
    parser.add_argument(
        '--list',
        nargs='+',
        type=Path,
        required=True,
        metavar='DIR',
        help='bags, sessions, or folders of them',
    )
    parser.add_argument('--json', type=Path, help='where the table goes as JSON')
    given = parser.parse_args()
    return run_command('sessions', lambda: list_sessions(given.list, given.json))


if __name__ == '__main__':
    sys.exit(main())
