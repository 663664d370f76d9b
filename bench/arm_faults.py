# SPDX-License-Identifier: Apache-2.0
"""Random faults on a physical arm's emulated bus, and in its session, while the policy drives.

`test/faulty_arm.py` says which, and what must hold; the command ends with 1 where it does not. What
is measured is how long goals still change after a fault that silences the commands, the bus or a
servo.
"""

from __future__ import annotations

import argparse
from collections import Counter
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import numpy as np
from test.dynamixel_rig import CONFIG
from test.faulty_arm import FaultyArm, Seen
from test.probe import watching
from tqdm import tqdm

from bench.result import Bar, machine, print_bars, write_result

HOLD_BAR = 0.2  # s


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python3 -m bench.arm_faults', description=__doc__)
    parser.add_argument('--faults', type=int, default=1000, help='how many')
    parser.add_argument('--seed', type=int, default=0, help='of kinds, places and moments')
    parser.add_argument('--ending', type=float, default=0.02, help='share that ends the session')
    parser.add_argument('--json', type=Path, help='file for the figures')
    arguments = parser.parse_args()
    if arguments.faults < 1:
        parser.error(f'--faults must be 1 or more, not {arguments.faults}')
    if not 0.0 <= arguments.ending <= 1.0:
        parser.error(f'--ending must be 0 to 1, not {arguments.ending:g}')
    return arguments


def _figures(arm: FaultyArm, seconds: float) -> dict[str, Any]:
    holds = np.array([seen.hold for seen in arm.seen if seen.hold is not None])
    kinds: dict[str, dict[str, Any]] = {}
    for kind, count in sorted(Counter(seen.fault for seen in arm.seen).items()):
        own = [s.hold for s in arm.seen if s.fault == kind and s.hold is not None]
        kinds[kind] = {
            'faults': count,
            'hold_p50': round(float(np.median(own)), 3) if own else None,
            'hold_max': round(max(own), 3) if own else None,
        }
    return {
        'faults': len(arm.seen),
        'sessions': arm.sessions,
        'goal_checks': arm.goals,
        'repeated': arm.repeated,
        'holds': len(holds),
        'hold_p50': round(float(np.median(holds)), 4),
        'hold_p99': round(float(np.percentile(holds, 99)), 4),
        'hold_max': round(float(holds.max()), 4),
        'held_in_time': round(float((holds <= HOLD_BAR).mean()), 4),
        'seconds': round(seconds, 1),
        'kinds': kinds,
    }


def _print(figures: dict[str, Any]) -> None:
    print(f'{"fault":<28}{"count":>6}  held after, p50 / max')
    for kind, own in figures['kinds'].items():
        held = '' if own['hold_p50'] is None else f'{own["hold_p50"]:.3f} / {own["hold_max"]:.3f} s'
        print(f'{kind:<28}{own["faults"]:>6}  {held}')
    print(
        f'{figures["faults"]} faults in {figures["sessions"]} sessions; goals were looked at '
        f'{figures["goal_checks"]} times, and none was outside of its limits'
    )


def main() -> int:
    """Print the figures and write the file."""
    arguments = _arguments()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    before, began = machine(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder,
        watching() as probe,
        tqdm(total=arguments.faults, unit='fault') as bar,
    ):
        arm = FaultyArm(Path(folder), probe, CONFIG, arguments.seed, arguments.ending)

        def tell(seen: Seen) -> None:
            bar.set_postfix_str(seen.fault)
            bar.update()

        try:
            arm.run(arguments.faults, tell)
        except AssertionError as error:
            print(f'bench.arm_faults: after {len(arm.seen)} faults: {error}', file=sys.stderr)
            print(f'the session said: {arm.session.words()}', file=sys.stderr)
            return 1
    figures = _figures(arm, time.monotonic() - began)
    _print(figures)
    bars = [Bar('goals still change after a fault, p99', figures['hold_p99'], HOLD_BAR, 's')]
    print_bars(bars)
    if arguments.json:
        figures |= {'seed': arguments.seed, 'bars': [bar.as_dict() for bar in bars]}
        figures['machine'] = {**before, 'load_average_after': machine()['load_average']}
        write_result(arguments.json, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
