# SPDX-License-Identifier: Apache-2.0
"""A real world_model node in lockstep, every frame answered at once, and what the node adds.

For every step of the node this process computes one bare tick (the network alone) and one through
the backend (the same with the backend's conversions), while the node is idle. So all three see the
same machine, cold caches and all.

- `bare`: the network's step, decode, heads and fidelity, here.
- `backend`: `hiwm_core.backend.next_observation`, here.
- `compute`: the same in the node's worker, as `RigState.tick_time` tells.
- `answer`: from an action's arrival in the node's callback to its frame, joints and state being
  published, as the node's diagnostics tell. It contains the compute, the threads' hand-over, the
  record in the rollout tree's journal, and the messages' conversion and publication.
- `round_trip`: from the action's publication here to the state's arrival here.
- `transport`: from the action's publication here to its arrival in the node.

The node's overhead is (p50 of answer - p50 of bare) / (p50 of bare): all that the node does for a
step besides the network's work. What lies between processes (DDS, and the wake-up of the receiver)
is not the node's; `transport` and `round_trip` say how much it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from hiwm_msgs.msg import RigState
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from test.process import Process
from tqdm import tqdm

from bench.result import percentiles
from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.task import Task
from hiwm_rig.base_node import profile_of, publisher
from hiwm_rig.conversion import action_message, nanoseconds_of
from hiwm_world_model.backend import WorldModelBackend

NODE = 'world_model'
EXECUTABLE = 'lib/hiwm_world_model/world_model'
WARM_UP = 60  # steps
PATIENCE = 60.0  # s, for the next frame


class Driver:
    """Answers each frame of the node that a process runs, and keeps when."""

    def __init__(self, task: Task, process: Process) -> None:
        self.node = rclpy.create_node('bench_driver')
        self.state: RigState | None = None
        self.arrived = 0.0
        self.told: dict[str, float] = {}
        self.told_at = 0
        self._task = task
        self._process = process
        self._action = publisher(self.node, contract.ACTION)
        quality = contract.Quality(True, 50, contract.RIG_STATE.quality.latched)
        self.node.create_subscription(
            RigState, contract.RIG_STATE.name, self._on_state, profile_of(quality)
        )
        self.node.create_subscription(
            DiagnosticArray, contract.DIAGNOSTICS.name, self._on_diagnostics, 10
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _on_state(self, state: RigState) -> None:
        if state.mode == RigState.MODE_FAULT:
            raise SystemExit(f'bench: the node failed: {state.message}')
        if not state.context and state.mode == RigState.MODE_RUNNING:
            self.arrived = time.perf_counter()
            self.state = state

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == NODE:
                self.told = {entry.key: float(entry.value) for entry in status.values}
                self.told_at = nanoseconds_of(message.header.stamp)

    def answer(self, values: np.ndarray) -> float:
        """Send the action for the newest state; returns how long its frame took to come, s."""
        assert self.state is not None
        epoch, step = self.state.epoch, self.state.step
        stamp = self.node.get_clock().now().to_msg()
        action = Action(values, Source.POLICY, epoch, step, 'bench', step)
        message = action_message(self._task, action, stamp)
        sent = time.perf_counter()
        self._action.publish(message)
        self.until(lambda: self.state is not None and self.state.step > step, 'the frame')
        return self.arrived - sent

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Spin until something has happened; ends the program if it does not."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline or self._process.child.poll() is not None:
                print(self._process.text[-3000:], file=sys.stderr)
                raise SystemExit(f'bench: {what} did not come; the output of the node is above')
            self._executor.spin_once(timeout_sec=0.2)


def measure_node(
    backend: WorldModelBackend,
    folder: Path,
    tick: Callable[[], float],
    actions: Iterator[np.ndarray],
    steps: int,
) -> dict[str, Any]:
    """The figures of a node that serves the weights in a folder, milliseconds.

    Args:
        backend: With the same weights, in this process.
        folder: Of the weights.
        tick: Computes one bare tick and returns its duration, s.
        actions: What to command.
        steps: As many as the diagnostics remember (600); with fewer, what the node tells of itself
            is also of the warm-up.
    """
    task = backend.model.task
    seconds: dict[str, list[float]] = defaultdict(list)
    rclpy.init()
    try:
        with (
            tempfile.TemporaryDirectory(prefix='hiwm-bench-') as scratch,
            Process(_command(task, folder), Path(scratch) / 'node.log') as process,
        ):
            driver = Driver(task, process)
            driver.until(lambda: driver.state is not None, 'the first frame')
            seen = first_observation(backend, task.start_scene(0), 0)
            for number in tqdm(range(WARM_UP + steps), desc='node', unit='step'):
                values = next(actions)
                if number == WARM_UP:
                    seconds.clear()
                seconds['round_trip'].append(driver.answer(values))
                assert driver.state is not None
                seconds['compute'].append(driver.state.tick_time)
                seconds['bare'].append(tick())
                began = time.perf_counter()
                seen = next_observation(backend, seen, values, number)
                seconds['backend'].append(time.perf_counter() - began)
            ended = driver.node.get_clock().now().nanoseconds
            driver.until(lambda: driver.told_at > ended, 'what the diagnostics tell')
            resident = _resident_mb(process)
            process.interrupt()
    finally:
        rclpy.try_shutdown()
    figures: dict[str, Any] = {f'{name}_ms': percentiles(seconds[name]) for name in seconds}
    for name, key in (('answer', 'answer'), ('transport', 'action transport')):
        figures[f'{name}_ms'] = {rank: driver.told[f'{key} {rank} (ms)'] for rank in ('p50', 'p99')}
    bare = figures['bare_ms']['p50']
    figures['overhead'] = round(figures['answer_ms']['p50'] / bare - 1.0, 4)
    figures['overhead_of_compute'] = round(figures['compute_ms']['p50'] / bare - 1.0, 4)
    figures['steps'] = steps
    figures['resident_mb'] = resident
    return figures


def _command(task: Task, folder: Path) -> list[str]:
    parameters = {
        'task': task.name,
        'model': str(folder.resolve()),
        'pace': 'lockstep',
        'start': 'running',
        'threads': 1,
    }
    command = ['ros2', 'run', 'hiwm_world_model', 'world_model', '--ros-args']
    for name, value in parameters.items():
        command += ['-p', f'{name}:={value}']
    return command


def _resident_mb(process: Process) -> float:
    """Resident memory of the node itself, which `ros2 run` has started, in 10^6 bytes."""
    for line in process.left_behind():
        number, _, command = line.partition(' ')
        if EXECUTABLE in command:
            for entry in Path('/proc', number, 'status').read_text().splitlines():
                if entry.startswith('VmRSS:'):
                    return round(int(entry.split()[1]) * 1024 / 1e6, 1)
    raise SystemExit(f'bench: no process of {EXECUTABLE} was found')
