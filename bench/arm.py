# SPDX-License-Identifier: Apache-2.0
"""Measures the physical arm's control loop in a whole session, on an emulated bus at 1 Mbaud.

Every node runs as a user runs it (arm, simulated table's camera, policy, multiplexer, recorder),
and beside them the emulated servos, which take the wire's time for every byte. The figures are
those that the arm tells on /diagnostics: of its newest turns, how late each began and how long it
took, and of its newest commands, how long it took from the command to the goal on the wire.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import tempfile
from typing import Any

from test.dynamixel_rig import CONFIG
from test.dynamixel_session import DynamixelSession, dynamixel_session
from test.probe import watching
from tqdm import tqdm

from bench.result import Bar, machine, print_bars, write_result

LATENESS_BAR, COMMAND_BAR = 2.0, 12.0  # ms, p99
KINDS = ('lateness', 'turn', 'command to goal')
PRIORITY = 50  # that the control loop asks for
MOST_STOPS = 10


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python3 -m bench.arm', description=__doc__)
    parser.add_argument('--seconds', type=float, default=60.0, help='of the session that runs')
    parser.add_argument('--seed', type=int, default=0, help='start of the task')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def _real_time_is_allowed() -> bool:
    """Whether this user's processes may have the priority that the control loop asks for."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except OSError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def _drive(session: DynamixelSession, steps: int) -> int:
    """Let the policy drive so many steps; how often the rig stopped on the way.

    A camera that a busy machine holds up stops it, and a person would reset it.
    """
    probe, stops, done = session.probe, 0, 0
    with tqdm(total=steps, unit='step', desc='session') as bar:
        while done < steps:
            session.go_on()
            before, left = probe.state.executed_actions, steps - done
            probe.until(
                lambda before=before, left=left: (  # type: ignore[misc]
                    not session.drives or probe.state.executed_actions - before >= left
                ),
                'the session goes on',
                patience=60.0 + 2.0 * steps * probe.task.period,
            )
            driven = max(1, probe.state.executed_actions - before)
            done += driven
            bar.update(driven)
            if done < steps:
                stops += 1
                if stops > MOST_STOPS:
                    raise SystemExit(f'bench.arm: the session keeps stopping: {session.words()}')
    return stops


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (
        watching() as probe,
        dynamixel_session(probe, CONFIG, folder, [f'seed:={arguments.seed}']) as session,
    ):
        stops = _drive(session, round(arguments.seconds / probe.task.period))
        status = session.arm_status()
        executed = probe.state.executed_actions
        text = session.process.text
    if 'Traceback' in text:
        raise SystemExit(f'bench.arm: the session failed:\n{text[-2000:]}')
    figures: dict[str, Any] = {
        kind: {rank: float(status[f'{kind} {rank} (ms)']) for rank in ('p50', 'p99')}
        for kind in KINDS
    }
    figures['unread_turns'] = int(status['unread turns'])
    figures['left_out_turns'] = int(status['left out turns'])
    figures['executed_actions'] = int(executed)
    figures['stops'] = stops
    return figures


def main() -> int:
    """Print the figures and write the file."""
    arguments = _arguments()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    before, allowed = machine(), _real_time_is_allowed()
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        figures = _measure(arguments, Path(folder))
    bars = [
        Bar(name, figures[kind]['p99'], bar, 'ms')
        for name, kind, bar in (
            ('control loop, lateness of a turn, p99', 'lateness', LATENESS_BAR),
            ('command to goal written, p99', 'command to goal', COMMAND_BAR),
        )
        if allowed
    ]
    for kind in KINDS:
        print(f'{kind:<20} p50 {figures[kind]["p50"]:8.3f} ms   p99 {figures[kind]["p99"]:8.3f} ms')
    print(
        f'{figures["executed_actions"]} actions; {figures["unread_turns"]} turns unread, '
        f'{figures["left_out_turns"]} left out; the rig stopped {figures["stops"]} times'
    )
    if not allowed:
        print(
            'no bar holds here: this user may not have real-time priority, so that turns are as '
            'late as other processes make them; see `ulimit -r`'
        )
    print_bars(bars)
    if arguments.json:
        figures |= {'seed': arguments.seed, 'real_time': allowed}
        figures['bars'] = [bar.as_dict() for bar in bars]
        figures['machine'] = {**before, 'load_average_after': machine()['load_average']}
        write_result(arguments.json, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
