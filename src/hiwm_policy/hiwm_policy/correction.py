# SPDX-License-Identifier: Apache-2.0
"""Corrections inside a world model by an operator that looks at frames alone, in lockstep.

The base policy rolls out from many starts at once. The scripted operator watches the frames of
each; where the progress that it sees has stalled, or the time is over, it rolls back, branches, and
drives until the task looks done, or until so much is gained that the policy could go on. One
failure gives several branches, each of which goes back further. Nothing here is timed: an
operator's second is what the task's rate makes of a step that they drive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source, clip_values
from hiwm_core.backend import Backend
from hiwm_core.observation import Observation
from hiwm_core.policy import Policy
from hiwm_core.task import Task
from hiwm_policy.lockstep import Attempt, key_of, observation_of, run_attempts
from hiwm_robot.scripted_operator import (
    Event,
    Eyes,
    Habits,
    ScriptedOperator,
    Stage,
    When,
)

FloatArray = NDArray[np.float64]

# Of the task's largest step: what rounding may add to a step that just fits.
SLACK = 1e-9


@dataclass(eq=False)
class Correction:
    """A branch that the operator drove.

    Attributes:
        fork: The step of the attempt at which it left.
        observations: After each of its steps.
        actions: (A,) each, as executed.
        sources: Of each: OPERATOR, or HANDOVER where the step limit changed it.
        success: Whether it did what it was for: the task looked done to the operator at the end,
            or had gained what they hand back after.
        outcome: How it ended, in one sentence.
    """

    fork: int
    observations: list[Observation] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    success: bool = False
    outcome: str = ''


@dataclass(eq=False)
class Practice:
    """A start: the policy's attempt, and what the operator made of it.

    Attributes:
        reason: Why the operator took over, in one sentence; empty if they did not.
    """

    attempt: Attempt
    reason: str = ''
    corrections: list[Correction] = field(default_factory=list)

    def operator_steps(self) -> int:
        """Steps that the operator drove."""
        return sum(len(each.actions) for each in self.corrections)


class Watcher:
    """The operator's eyes on one attempt of the policy."""

    def __init__(self, task: Task, eyes: Eyes, habits: Habits) -> None:
        self.reason = ''
        self._eyes = eyes
        self._habits = habits
        self._task = task
        self._operator = ScriptedOperator(task, habits)

    def stops(self, attempt: Attempt) -> bool:
        """A new frame of the policy's attempt: whether the operator takes over here."""
        look = self._eyes.look(attempt.last.frame)
        self._operator.watch(1, look.progress, autonomous=True)
        if self._operator.stage is not Stage.WATCHING:
            self.reason = (
                f'no gain above {self._habits.stall_gain:g} of {self._task.progress_name} in '
                f'{self._habits.stall_steps} steps'
            )
        return bool(self.reason)


def practise(
    task: Task,
    backend: Backend,
    policy: Policy,
    seeds: Sequence[int],
    *,
    branches: int,
    habits: Habits,
) -> list[Practice]:
    """The policy's attempts from these starts, with so many corrections of each that went wrong.

    Args:
        branches: Of a failure; 0: nobody watches.
        habits: Of the operator; `when` is STALL whatever it says.

    Raises:
        HiwmError: The backend, the policy or the operator cannot be used.
    """
    habits = replace(habits, when=When.STALL)
    eyes = Eyes(task, 0)
    watchers = {seed: Watcher(task, eyes, habits) for seed in seeds} if branches else {}
    attempts = run_attempts(
        task,
        backend,
        policy,
        seeds,
        keep=True,
        stop=lambda attempt: bool(branches) and watchers[attempt.seed].stops(attempt),
    )
    practices = [
        Practice(each, watchers[each.seed].reason if each.seed in watchers else '')
        for each in attempts
    ]
    rows = []
    for practice in practices:
        if practice.reason:
            for number in range(branches):
                back = min((number + 1) * habits.rollback_steps, practice.attempt.steps)
                correction = Correction(practice.attempt.steps - back)
                practice.corrections.append(correction)
                rows.append(_Drive(task, practice.attempt, correction, habits, number))
    _drive(task, backend, rows)
    return practices


class _Drive:
    """One correction on its way."""

    def __init__(
        self, task: Task, attempt: Attempt, correction: Correction, habits: Habits, number: int
    ) -> None:
        self.correction = correction
        self.seed = attempt.seed
        self.number = number
        self.newest = attempt.observations[correction.fork]
        self._task = task
        self._eyes = Eyes(task, key_of(attempt.seed, number, 'operator') % 2**32)
        self._operator = ScriptedOperator(task, habits)
        # What it asks for on its way to the wheel is granted at once: nobody else is there.
        self._operator.tell()
        self._operator.happen(Event.DONE)
        self._operator.happen(Event.DONE)
        self._sent = task.hold_action(self.newest.joints)

    def choose(self) -> tuple[FloatArray, Source] | None:
        """The action (A,) for the newest frame, within the limits, and its source; None: done."""
        task = self._task
        look = self._eyes.look(self.newest.frame)
        if not self._operator.drive(look):
            self.correction.outcome = self._operator.outcome
            self.correction.success = self._operator.achieved
            return None
        wish = self._eyes.choose(self.newest.frame, look) if look.readable else self._sent
        wish = clip_values(task, wish)
        reach = task.action_max_step * (1.0 + SLACK)
        self._sent = np.clip(wish, self._sent - reach, self._sent + reach)
        kept = np.array_equal(self._sent, wish)
        return self._sent, Source.OPERATOR if kept else Source.HANDOVER

    def take(self, observation: Observation, action: FloatArray, source: Source) -> None:
        """A step was made."""
        self.newest = observation
        self.correction.observations.append(observation)
        self.correction.actions.append(action)
        self.correction.sources.append(source)


def _drive(task: Task, backend: Backend, rows: list[_Drive]) -> None:
    """All corrections together, until the last one ends."""
    while rows:
        going: list[_Drive] = []
        chosen: list[tuple[FloatArray, Source]] = []
        for row in rows:
            choice = row.choose()
            if choice is not None:
                going.append(row)
                chosen.append(choice)
        rows = going
        if not rows:
            return
        steps = [len(row.correction.actions) for row in rows]
        keys = [
            key_of(row.seed, row.correction.fork + step, f'correction {row.number}')
            for row, step in zip(rows, steps, strict=True)
        ]
        states = np.stack([row.newest.state for row in rows])
        states = backend.step(states, np.stack([action for action, _ in chosen]), keys)
        frames = backend.decode(states)
        readings = backend.heads(states, frames)
        for place, (row, (action, source)) in enumerate(zip(rows, chosen, strict=True)):
            row.take(observation_of(states, readings, place, frames[place]), action, source)
