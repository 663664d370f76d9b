# SPDX-License-Identifier: Apache-2.0
"""Measures a whole session in realtime: its frames' regularity, its answers, the rig's ticks.

Every node runs as a user runs it (world model, policy, multiplexer, recorder, console). The times
are taken where a subscriber sees them, on a steady clock; a tick is what the rig itself says that
computing the frame took (`RigState.tick_time`).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from hiwm_msgs.msg import Action, RigState
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from test.process import Process
from tqdm import tqdm

from bench.result import Bar, machine, percentiles, print_bars, write_result
from hiwm_core import contract
from hiwm_rig.base_node import interface, profile_of


class Stopwatch:
    """Arrival times of frames, and of the actions that they answer."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, int, int]] = []
        self.actions: dict[tuple[int, int], float] = {}
        self.ticks: list[float] = []
        self.missed_deadlines = 0
        self.node = rclpy.create_node('bench')
        for topic, take in (
            (contract.RIG_STATE, self._on_state),
            (contract.ACTION, self._on_action),
        ):
            quality = contract.Quality(True, 50, topic.quality.latched)
            self.node.create_subscription(
                interface(topic.type), topic.name, take, profile_of(quality)
            )

    def _on_state(self, state: RigState) -> None:
        if not state.context and state.mode == RigState.MODE_RUNNING:
            self.frames.append((time.monotonic(), state.epoch, state.step))
            if np.isfinite(state.tick_time):
                self.ticks.append(state.tick_time)
            self.missed_deadlines = state.missed_deadlines

    def _on_action(self, action: Action) -> None:
        self.actions.setdefault((action.epoch, action.observation_step), time.monotonic())

    def periods(self) -> np.ndarray:
        """s, between successive frames of one epoch."""
        return np.array(
            [
                later[0] - earlier[0]
                for earlier, later in zip(self.frames, self.frames[1:], strict=False)
                if later[1:] == (earlier[1], earlier[2] + 1)
            ]
        )

    def latencies(self) -> np.ndarray:
        """s, from an action on /action to the frame of the step that it led to."""
        return np.array(
            [
                arrived - self.actions[epoch, step - 1]
                for arrived, epoch, step in self.frames
                if (epoch, step - 1) in self.actions
            ]
        )


def measure(launch: str, frames: int, seed: int, log: Path) -> dict[str, Any]:
    """Run a session until so many frames came while the policy drove."""
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        launch,
        'port:=0',
        f'record_dir:={log.parent}',
        f'seed:={seed}',
    ]
    began = time.monotonic()
    rclpy.init()
    watch = Stopwatch()
    executor = SingleThreadedExecutor()
    executor.add_node(watch.node)
    with Process(command, log) as session:
        deadline = time.monotonic() + 60 + frames
        first = None
        with tqdm(total=frames, unit='frame') as bar:
            while len(watch.frames) < frames:
                executor.spin_once(timeout_sec=0.2)
                if len(watch.frames) > bar.n:
                    bar.update(len(watch.frames) - bar.n)
                if first is None and watch.frames:
                    first = time.monotonic() - began
                if session.child.poll() is not None or time.monotonic() > deadline:
                    print(session.text[-3000:], file=sys.stderr)
                    raise SystemExit('bench: the session gave no frames; its output is above')
        exit_code = session.interrupt()
    rclpy.try_shutdown()
    periods, latencies = watch.periods(), watch.latencies()
    return {
        'frame_period_ms': percentiles(periods),
        'action_to_frame_ms': percentiles(latencies),
        'tick_ms': percentiles(watch.ticks),
        'missed_deadlines': watch.missed_deadlines,
        'first_frame_s': round(first or float('nan'), 2),
        'frames': len(periods),
        'actions': len(latencies),
        'exit_code': exit_code,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--launch', default='wm_session.launch.py', help='which session')
    parser.add_argument('--frames', type=int, default=300, help='how many frames to measure')
    parser.add_argument('--seed', type=int, default=0, help='start of the task')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    facts = machine()
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        result = measure(
            arguments.launch, arguments.frames, arguments.seed, Path(folder) / 'session.log'
        )
    bars = [
        Bar('period of frames at 10 Hz, p99', result['frame_period_ms']['p99'], 110.0, 'ms'),
        Bar('a tick of the rig beside all nodes, p99', result['tick_ms']['p99'], 60.0, 'ms'),
    ]
    result['seed'] = arguments.seed
    result['bars'] = [bar.as_dict() for bar in bars]
    result['machine'] = {**facts, 'load_average_after': machine()['load_average']}
    for name in ('frame_period_ms', 'action_to_frame_ms', 'tick_ms'):
        figures = '  '.join(f'{key} {value:.1f}' for key, value in result[name].items())
        print(f'{name:<20} {figures}')
    print(f'{"first_frame_s":<20} {result["first_frame_s"]:.1f}')
    print(f'{"missed_deadlines":<20} {result["missed_deadlines"]}')
    print_bars(bars)
    if arguments.json:
        write_result(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
