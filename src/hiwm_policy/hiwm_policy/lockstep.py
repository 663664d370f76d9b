# SPDX-License-Identifier: Apache-2.0
"""Closed-loop episodes of a policy in a backend, many at once, in lockstep.

Each begins at the task's start of its seed, so that all policies meet the same starts. It ends when
the task's criterion is met in any frame, or after the task's `episode_steps`. Where a backend does
not know the progress (a world model may not), its own estimate of success is asked instead.

One forward pass serves all episodes that still go on. Frames are drawn only where somebody looks at
them: the newest few before each chunk, the last one, or all of them if they are kept. How many
episodes share a pass may change the last bits of a result; equal batches give equal results.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import hashlib

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import clip_values
from hiwm_core.backend import Backend, Readings, observe
from hiwm_core.error import HiwmError
from hiwm_core.observation import Observation
from hiwm_core.policy import Policy, chunks_of
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]

# Stands for a frame at which nobody looks.
NOT_DRAWN: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)


def key_of(seed: int, step: int, what: str) -> int:
    """64 bits of randomness for one use in one step of one episode."""
    digest = hashlib.blake2b(f'{what} {seed} {step}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'little')


@dataclass(eq=False)
class Attempt:
    """One episode, as far as it has come.

    Attributes:
        seed: Of its start.
        done: Whether the task's criterion was met in a frame.
        steps: Actions executed.
        best_progress: NaN where the backend knows no progress.
        last: The newest observation; its frame is there once the episode is over.
        observations: All of them, steps + 1, if they are kept.
        actions: The actions (A,) between them, if they are kept.
    """

    seed: int
    done: bool
    steps: int
    best_progress: float
    last: Observation
    observations: list[Observation] = field(default_factory=list)
    actions: list[FloatArray] = field(default_factory=list)


def run_attempts(
    task: Task,
    backend: Backend,
    policy: Policy,
    seeds: Sequence[int],
    *,
    keep: bool = False,
    stop: Callable[[Attempt], bool] = lambda attempt: False,
    finished: Callable[[Attempt], None] = lambda attempt: None,
) -> list[Attempt]:
    """One episode from the start of every seed, in their order.

    Args:
        keep: Whether all observations, with their frames, and all actions are kept.
        stop: Asked after every step whether somebody ends the episode here.
        finished: Told of every episode as it ends.

    Raises:
        HiwmError: The backend or the policy failed.
    """
    keys = [key_of(seed, 0, 'reset') for seed in seeds]
    states = np.concatenate(
        [backend.start(task.start_scene(seed), key) for seed, key in zip(seeds, keys, strict=True)]
    )
    seen = observe(backend, states)
    attempts = [
        Attempt(
            seed=seed,
            done=task.succeeded(observation.progress, observation.success),
            steps=0,
            best_progress=observation.progress,
            last=observation,
            observations=[observation] if keep else [],
        )
        for seed, observation in zip(seeds, seen, strict=True)
    ]
    histories = [deque([each.last], maxlen=policy.context) for each in attempts]
    rows = np.flatnonzero([not each.done for each in attempts])
    states = states[rows]
    chunks: NDArray[np.float64] = np.empty((0, 0, 0))
    for step in range(task.episode_steps):
        if not len(rows):
            break
        place = step % policy.chunk_steps
        numbers = [attempts[row].seed for row in rows]
        if place == 0:
            drawn = [key_of(seed, step, 'chunk') for seed in numbers]
            chunks = _checked_chunks(task, policy, [histories[row] for row in rows], drawn)
        actions = np.ascontiguousarray(chunks[:, place])
        states = backend.step(states, actions, [key_of(seed, step, 'step') for seed in numbers])
        last = step + 1 == task.episode_steps
        before_chunk = policy.chunk_steps - 1 - place
        shown = keep or last or before_chunk < policy.context
        frames = backend.decode(states) if shown else None
        readings = backend.heads(states, frames if keep else None)
        over = np.zeros(len(rows), np.bool_)
        for place_in_batch, row in enumerate(rows):
            attempt = attempts[row]
            attempt.done = is_done(task, readings, place_in_batch)
            if frames is not None:
                frame = frames[place_in_batch]
            elif attempt.done:
                frame = backend.decode(states[place_in_batch : place_in_batch + 1])[0]
            else:
                frame = NOT_DRAWN
            observation = observation_of(states, readings, place_in_batch, frame)
            attempt.steps += 1
            attempt.last = observation
            attempt.best_progress = float(np.fmax(attempt.best_progress, observation.progress))
            histories[row].append(observation)
            if keep:
                attempt.observations.append(observation)
                attempt.actions.append(actions[place_in_batch])
            over[place_in_batch] = attempt.done or last or stop(attempt)
            if over[place_in_batch]:
                finished(attempt)
        rows, states, chunks = rows[~over], states[~over], chunks[~over]
    return attempts


def is_done(task: Task, readings: Readings, row: int) -> bool:
    """Whether the task is done in a row of readings."""
    return task.succeeded(float(readings.progress[row]), float(readings.success[row]))


def observation_of(
    states: FloatArray, readings: Readings, row: int, frame: NDArray[np.uint8]
) -> Observation:
    """The observation of one of the states (B, Z)."""
    return Observation(
        frame=frame,
        joints=readings.joints[row],
        scene=readings.scene[row],
        progress=float(readings.progress[row]),
        success=float(readings.success[row]),
        fidelity=float(readings.fidelity[row]),
        state=states[row],
    )


def _checked_chunks(
    task: Task, policy: Policy, histories: Sequence[deque[Observation]], keys: Sequence[int]
) -> NDArray[np.float64]:
    """Chunks (B, n, A) within the limits. Raises HiwmError if the policy gave something else."""
    chunks = chunks_of(policy, [list(history) for history in histories], keys)
    needed = (len(keys), policy.chunk_steps, len(task.actions))
    wrong = chunks.ndim != 3 or chunks.shape[::2] != needed[::2] or chunks.shape[1] < needed[1]
    if wrong or not np.isfinite(chunks).all():
        raise HiwmError(
            f"the policy '{policy.name}' gave chunks of shape {chunks.shape} or with values that "
            f'are not finite; {needed} or more steps are needed'
        )
    return clip_values(task, chunks)
