# SPDX-License-Identifier: Apache-2.0
"""Measures the physical arm's control loop in a whole session, on an emulated bus at 1 Mbaud.

Every node runs as a user runs it (arm, simulated table's camera, policy, multiplexer, recorder),
and beside them the emulated servos, which take the wire's time for every byte. The figures are
those
that the arm tells on /diagnostics: of its newest turns, how late each began and how long it took,
and of its newest commands, how long it took from the command to the goal on the wire.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import tempfile
from typing import Any

from test.dynamixel_rig import CONFIG, emulator
from test.probe import Probe, watching
from test.process import Process
from tqdm import tqdm

from bench.result import Bar, machine, print_bars, write_result
from hiwm_core import contract

LATENESS_BAR, COMMAND_BAR = 2.0, 12.0  # ms, p99
KINDS = ('lateness', 'turn', 'command to goal')


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python3 -m bench.arm', description=__doc__)
    parser.add_argument('--seconds', type=float, default=60.0, help='of the session that runs')
    parser.add_argument('--seed', type=int, default=0, help='start of the task')
    parser.add_argument('--json', type=Path, help='file for the figures')
    return parser.parse_args()


def _arm_status(probe: Probe) -> dict[str, str]:
    """The newest status of the arm; empty before the first."""
    for array in reversed(probe.messages[contract.DIAGNOSTICS.name]):
        for status in array.status:
            if status.name.endswith(': arm'):
                return {'message': status.message, **{v.key: v.value for v in status.values}}
    return {}


def _until_step(probe: Probe, step: int) -> None:
    """Wait for a step; an arm that stops ends the measurement with its sentence."""
    probe.until(lambda: probe.state.step >= step or probe.state.message, 'the session goes on')
    if probe.state.message:
        raise SystemExit(f'bench.arm: {probe.state.message}')


def _measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    port = folder / 'port'
    launch = [
        *('ros2', 'launch', 'hiwm_bringup', 'robot_session.launch.py', 'rig:=dynamixel'),
        *(f'arm_port:={port}', 'camera:=sim', 'headless:=true', f'record_dir:={folder}'),
        f'seed:={arguments.seed}',
    ]
    with (
        emulator(CONFIG, port),
        watching() as probe,
        Process(launch, folder / 'log') as session,
        tqdm(total=round(arguments.seconds), unit='s', desc='session') as bar,
    ):
        _until_step(probe, 5)
        first = probe.state.step
        steps = round(arguments.seconds / probe.task.period)
        for done in range(bar.total):
            _until_step(probe, first + (done + 1) * steps // bar.total)
            bar.update()
        status = _arm_status(probe)
        executed = probe.state.executed_actions
        text = session.text
    if 'Traceback' in text:
        raise SystemExit(f'bench.arm: the session failed:\n{text[-2000:]}')
    figures: dict[str, Any] = {
        kind: {rank: float(status[f'{kind} {rank} (ms)']) for rank in ('p50', 'p99')}
        for kind in KINDS
    }
    figures['unread_turns'] = int(status['unread turns'])
    figures['left_out_turns'] = int(status['left out turns'])
    figures['executed_actions'] = int(executed)
    return figures


def main() -> int:
    """Print the figures and write the file."""
    arguments = _arguments()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    before = machine()
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        figures = _measure(arguments, Path(folder))
    bars = [
        Bar(
            'control loop, lateness of a turn, p99', figures['lateness']['p99'], LATENESS_BAR, 'ms'
        ),
        Bar('command to goal written, p99', figures['command to goal']['p99'], COMMAND_BAR, 'ms'),
    ]
    for kind in KINDS:
        print(f'{kind:<20} p50 {figures[kind]["p50"]:8.3f} ms   p99 {figures[kind]["p99"]:8.3f} ms')
    print(
        f'{figures["executed_actions"]} actions; {figures["unread_turns"]} turns unread, '
        f'{figures["left_out_turns"]} left out'
    )
    print_bars(bars)
    if arguments.json:
        figures['seed'] = arguments.seed
        figures['bars'] = [bar.as_dict() for bar in bars]
        figures['machine'] = {**before, 'load_average_after': machine()['load_average']}
        write_result(arguments.json, figures)
    return 0


if __name__ == '__main__':
    sys.exit(main())
