# SPDX-License-Identifier: Apache-2.0
"""Measures a whole session in realtime: how regular its frames are, how soon one answers an action.

Every node runs as a user runs it (world model, policy, multiplexer, recorder, console). The times
are taken where a subscriber sees them, on a steady clock.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import platform
import sys
import tempfile
import time
from typing import Any

from hiwm_msgs.msg import Action, MuxState, RigState
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from test.process import Process
from tqdm import tqdm

from hiwm_core import contract
from hiwm_rig.base_node import interface, profile_of


class Stopwatch:
    """Arrival times of frames, and of the actions that they answer."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, int, int]] = []
        self.actions: dict[tuple[int, int], float] = {}
        self.phase = 0
        self.node = rclpy.create_node('bench')
        for topic, take in (
            (contract.RIG_STATE, self._on_state),
            (contract.ACTION, self._on_action),
            (contract.MUX_STATE, self._on_mux),
        ):
            quality = contract.Quality(True, 50, topic.quality.latched)
            self.node.create_subscription(
                interface(topic.type), topic.name, take, profile_of(quality)
            )

    def _on_state(self, state: RigState) -> None:
        if not state.context and state.mode == RigState.MODE_RUNNING:
            self.frames.append((time.monotonic(), state.epoch, state.step))

    def _on_action(self, action: Action) -> None:
        self.actions.setdefault((action.epoch, action.observation_step), time.monotonic())

    def _on_mux(self, state: MuxState) -> None:
        self.phase = state.phase

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


def percentiles(seconds: np.ndarray) -> dict[str, float]:
    """p50, p99 and the worst, in milliseconds."""
    middle, high = np.percentile(seconds, (50, 99)) * 1e3
    return {
        'p50': round(float(middle), 3),
        'p99': round(float(high), 3),
        'max': round(float(seconds.max() * 1e3), 3),
    }


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
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        result = measure(
            arguments.launch, arguments.frames, arguments.seed, Path(folder) / 'session.log'
        )
    result |= {'seed': arguments.seed, 'cores': os.cpu_count(), 'machine': platform.machine()}
    for name in ('frame_period_ms', 'action_to_frame_ms'):
        figures = '  '.join(f'{key} {value:.1f}' for key, value in result[name].items())
        print(f'{name:<20} {figures}')
    print(f'{"first_frame_s":<20} {result["first_frame_s"]:.1f}')
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        temporary = arguments.json.with_suffix('.tmp')
        temporary.write_text(json.dumps(result, indent=2) + '\n')
        temporary.replace(arguments.json)
    return 0


if __name__ == '__main__':
    sys.exit(main())
