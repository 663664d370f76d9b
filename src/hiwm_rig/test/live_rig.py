# SPDX-License-Identifier: Apache-2.0
"""A rig node that spins in a thread, around a backend that a test can hold up or spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import gc
import threading
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from point_mass import PointMass
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from test.probe import PATIENCE, Probe

from hiwm_core.task import Task
from hiwm_rig.rig_node import RigNode

FloatArray = NDArray[np.float64]


class Pliable(PointMass):
    """The point mass, with a gate before every step.

    Attributes:
        gate: A step waits until this is set.
        entered: Set whenever a step waits or passes.
        error: Raised by the next step, once.
        spoiled: The next frame lacks most of its rows, once.
        overlaps: How often a call began while another was under way.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.spoiled = False
        self.overlaps = 0
        self._calls = 0

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        self._begin()
        error, self.error = self.error, None
        self._calls -= 1
        if error is not None:
            raise error
        return super().start(scene, key)

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        self._begin()
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        self._calls -= 1
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().step(states, actions, keys)

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        spoiled, self.spoiled = self.spoiled, False
        frames = super().decode(states)
        return frames[:, :5] if spoiled else frames

    def _begin(self) -> None:
        self.overlaps += self._calls > 0
        self._calls += 1


class LiveRig:
    """A rig node in this process and the probe that watches it."""

    def __init__(self, probe: Probe, backend: Pliable) -> None:
        self.probe = probe
        self.backend = backend

    def __enter__(self) -> LiveRig:
        self.node = RigNode('rig', lambda task, values: self.backend)
        self.node.start()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.backend.gate.set()
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self._executor.remove_node(self.node)
        self.node.destroy_node()
        # A life cycle's state machine keeps the node's participant on the graph until it is
        # collected, in the way of the next test.
        del self.node, self._executor
        gc.collect()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def run(self, act: object) -> object:
        """Call something in the node's own thread, as a callback would."""
        assert callable(act)
        task = self._executor.create_task(act)
        done = threading.Event()
        task.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE)
        return task.result()


Launch = Callable[..., LiveRig]


def target(probe: Probe, x: float, y: float = 0.2) -> FloatArray:
    """An action of the task, by two shares of its ranges."""
    low, high = probe.task.action_low, probe.task.action_high
    return low + (high - low) * np.array([x, y])


def begin(launch: Launch, /, **parameters: object) -> tuple[LiveRig, Probe]:
    """A rig in lockstep that runs, unless told otherwise, and has shown its first frame."""
    rig = launch(**{'pace': 'lockstep', 'start': 'running', **parameters})
    rig.probe.until(lambda: rig.probe.states, 'the first state')
    return rig, rig.probe


def drive(probe: Probe, *shares: float) -> None:
    """Actions of the task, one after the other, by their first shares."""
    probe.drive_rig(np.array([target(probe, share) for share in shares]))
