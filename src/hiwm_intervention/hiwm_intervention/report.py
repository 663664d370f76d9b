# SPDX-License-Identifier: Apache-2.0
"""Writes the report of recorded sessions: report.html and report.json in each session's folder.

A recorder does the same by itself when its session ends.
"""

from __future__ import annotations

from pathlib import Path
import sys

from tqdm import tqdm

from hiwm_core.command import Parser, run_command
from hiwm_core.error import HiwmError
from hiwm_intervention.session_report import PAGE_NAME, write_report
from hiwm_intervention.summary_file import bags_of, summary_path


def sessions_in(path: Path) -> list[Path]:
    """The folder itself if it is a session, else the sessions in it."""
    if any(bags_of(path)):
        return [path]
    return sorted(each for each in path.iterdir() if each.is_dir() and any(bags_of(each)))


def report(path: Path, *, anew: bool) -> int:
    """Write the reports at `path`; returns the exit code."""
    sessions = sessions_in(path) if path.is_dir() else []
    if not sessions:
        print(f'there is no session in {path}; name a session or a folder of sessions')
        return 1
    code = 0
    for session in tqdm(sessions, unit='session', disable=len(sessions) == 1):
        try:
            if anew:
                for bag in bags_of(session):
                    summary_path(bag).unlink(missing_ok=True)
            write_report(session, read_bags=True)
            tqdm.write(str(session / PAGE_NAME))
        except (HiwmError, OSError) as error:
            tqdm.write(str(error))
            code = 1
    return code


def main() -> int:
    """Entry point."""
    parser = Parser(prog='report', description=__doc__)
    parser.add_argument('path', type=Path, help='a session, or a folder of sessions')
    parser.add_argument(
        '--anew', action='store_true', help='read the bags again, also where a summary lies beside'
    )
    arguments = parser.parse_args()
    return run_command(
        'report',
        lambda: report(arguments.path.expanduser().absolute(), anew=arguments.anew),
        'interrupted; what was written is whole',
    )


if __name__ == '__main__':
    sys.exit(main())
