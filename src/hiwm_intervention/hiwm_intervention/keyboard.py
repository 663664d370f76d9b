# SPDX-License-Identifier: Apache-2.0
"""Held keys as commanded values: a clutched device that moves a reference while a key is down.

The reference begins at the measured joints, so that engaging never jumps, and moves by the task's
speed for each held key and step. It stays within the task's limits and never runs ahead of the
measured joints by more than the largest step that the task allows: an arm that cannot follow is not
left with a debt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from hiwm_core.task import FloatArray, Task


class Keyboard:
    """The reference of one operator.

    Args:
        task: Its `console.keys` say what each key moves, in units per second.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._speeds = {
            key: np.array([moves.get(name, 0.0) for name in task.action_names])
            for key, moves in task.keys.items()
        }
        self._reference: FloatArray | None = None
        self._commanded: FloatArray | None = None

    def known(self, keys: Iterable[str]) -> frozenset[str]:
        """Of these keys, the ones that move something in this task."""
        return frozenset(keys) & self._speeds.keys()

    def forget(self) -> None:
        """Let go of the reference; the next command begins at the measured joints."""
        self._reference = self._commanded = None

    def advance(self) -> None:
        """A step has passed: what was commanded last is where the next command starts from."""
        self._reference = self._commanded

    def is_idle(self, held: Iterable[str] | Mapping[str, float]) -> bool:
        """Whether these keys command no motion: none moves anything, or they cancel out."""
        return not self._speed(held).any()

    def command(
        self,
        held: Iterable[str] | Mapping[str, float],
        joints: FloatArray,
        executed: FloatArray | None = None,
    ) -> FloatArray:
        """The values (A,) to command for the step at hand; asked again, it starts over.

        Args:
            held: The keys that are down, perhaps each with its share of the speed (a stick that is
                pushed half way); unknown ones do nothing, opposite ones cancel.
            joints: float64 (J,), measured now.
            executed: float64 (A,), what the rig did last; None: not known.
        """
        measured = self._task.hold_action(joints, executed)
        if self._reference is None:
            self._reference = measured
        values = self._reference + self._speed(held) * self._task.period
        reach = self._task.action_max_step
        values = np.clip(values, measured - reach, measured + reach)
        self._commanded = np.clip(values, self._task.action_low, self._task.action_high)
        return self._commanded

    def _speed(self, held: Iterable[str] | Mapping[str, float]) -> FloatArray:
        shares = held if isinstance(held, Mapping) else dict.fromkeys(held, 1.0)
        return sum(
            (self._speeds[key] * shares[key] for key in self.known(shares)),
            np.zeros(len(self._task.action_names)),
        )
