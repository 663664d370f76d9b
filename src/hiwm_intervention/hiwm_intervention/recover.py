# SPDX-License-Identifier: Apache-2.0
"""Makes recordings whole again whose recorder was killed, and says what is lost.

A recorder does the same by itself when it starts.
"""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import sys

from hiwm_core.bag_recovery import recover_bag, unfinished_bags
from hiwm_core.command import Parser, run_command
from hiwm_core.error import HiwmError
from hiwm_core.live_mark import BeingRecordedError, is_held
from hiwm_intervention.session_report import write_report
from hiwm_intervention.summary_file import summarize

NICENESS = 10  # a session may run beside it


def recover(path: Path) -> int:
    """Recover everything at `path`, print a sentence for each bag; returns the exit code."""
    if not path.is_dir():
        print(f'there is no folder {path}; name a folder of sessions, a session or a bag')
        return 1
    if is_held(path):
        print(f'{path} is being recorded; nothing is done')
        return 1
    bags = unfinished_bags(path)
    if not bags:
        print(f'every recording in {path} is whole')
    code = 0
    for bag in bags:
        try:
            recovery = recover_bag(bag)
        except BeingRecordedError:
            continue  # Somebody else recovers it.
        except HiwmError as error:
            print(error.message, flush=True)
            code = 1
            continue
        print(recovery.sentence, flush=True)
        with suppress(HiwmError):
            # The bag is what counts; `report` says what is wrong with it.
            summarize(bag, f'the recorder was killed; {recovery.sentence}')
            write_report(bag.parent)
    return code


def main() -> int:
    """Entry point."""
    parser = Parser(prog='recover', description=__doc__)
    parser.add_argument('path', type=Path, help='a folder of sessions, a session, or a bag')
    arguments = parser.parse_args()
    os.nice(NICENESS)
    return run_command(
        'recover',
        lambda: recover(arguments.path.expanduser().absolute()),
        'interrupted; what is not whole yet is as it was',
    )


if __name__ == '__main__':
    sys.exit(main())
