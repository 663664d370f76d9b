# SPDX-License-Identifier: Apache-2.0
"""Kills a session of the world model again and again, and checks that no published frame is lost.

`test/killed_session.py` says what a life is like. The command ends with 1 if a frame was lost, if
one differs, or if the session did not go on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from test.killed_session import KilledSession
from test.probe import watching
from tqdm import tqdm

from bench.result import machine, write_result


def measure(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """So many lives of one session. Raises AssertionError if something was lost."""
    began = time.monotonic()
    with watching() as probe:
        session = KilledSession(folder, probe, seed)
        for _ in tqdm(range(kills), unit='kill'):
            session.live_and_be_killed()
        head = session.head()
        session.forget()
        with session.process() as last:
            session.drive(last, head, 5)
            if last.interrupt() != 0:
                raise AssertionError(f'the last life did not end cleanly: {last.text}')
        lost = session.lost()
        with session.opened() as tree:
            nodes = len(tree.nodes)
    return {
        'kills': kills,
        'while_starting': sum(life.starting for life in session.lives),
        'torn_records': sum(life.torn for life in session.lives),
        'published_nodes': len(session.shown),
        'lost': len({*lost, *(each for life in session.lives for each in life.lost)}),
        'nodes': nodes,
        'seed': seed,
        'seconds': round(time.monotonic() - began, 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=50, help='how many')
    parser.add_argument('--seed', type=int, default=0, help='of the session and the moments')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    if arguments.kills < 1:
        parser.error(f'--kills must be 1 or more, not {arguments.kills}')
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        try:
            result = measure(Path(folder), arguments.kills, arguments.seed)
        except AssertionError as error:
            print(f'bench: {error}', file=sys.stderr)
            return 1
    for name, value in result.items():
        print(f'{name:<18}{value:>8}')
    if arguments.json:
        write_result(arguments.json, {**result, 'machine': machine()})
    return 1 if result['lost'] else 0


if __name__ == '__main__':
    sys.exit(main())
