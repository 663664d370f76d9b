# SPDX-License-Identifier: Apache-2.0
"""What can stand behind a rig that can be rolled back: a pure function of rows of state.

A world model, a simulator or anything else that predicts is served by one small interface, all of
it batched and none of it with a memory. Other packages add theirs by an entry point in the group
`hiwm.backends` (`hiwm_core.extension`).

A rig computes one row at a time, because the last bits of a network's result may depend on how
many rows are computed together, and a node of the rollout tree must be the same whoever asks.
`first_observation` and `next_observation` are such single rows. What-if asks for many rows at once
(`hiwm_core.what_if`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation

FloatArray = NDArray[np.float64]
FrameArray = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Readings:
    """What a backend says of B states, all float64.

    Attributes:
        joints: (B, J), the task's joints in their units.
        scene: (B, S), the task's scene variables in their units; (B, 0) where they are not known.
        progress: (B,), the task's measure of success; NaN where unknown.
        success: (B,), probability that the task is done; NaN where unknown.
        fidelity: (B,), how far the frames can be trusted, 0 to 1; NaN where unknown.
    """

    joints: FloatArray
    scene: FloatArray
    progress: FloatArray
    success: FloatArray
    fidelity: FloatArray


class Backend(Protocol):
    """A scene that can be continued from any of its past states.

    A state is a row of Z float64 that holds all that is needed to go on: a backend that predicts
    from its last frames keeps these in its row. A backend keeps no state of its own between calls:
    the same arguments give bit-identical results on one machine and build, in any order of calls.
    That is what makes every step a checkpoint. One call is made at a time, though not always from
    the same thread.
    """

    @property
    def name(self) -> str:
        """What sentences call it."""
        ...

    @property
    def state_size(self) -> int:
        """Z, the length of a row."""
        ...

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        """The state (1, Z) of a scene at rest.

        Args:
            scene: float64 (S,), every scene variable of the task.
            key: 64 bits of randomness.

        Raises:
            HiwmError: The scene is not one of the task.
        """
        ...

    def encode(self, frames: FrameArray) -> FloatArray:
        """The states (B, Z) of the scenes at rest that camera frames uint8 (B, H, W, 3) show.

        Raises:
            HiwmError: The frames have not the task's size, or NOT_SUPPORTED: it cannot read frames.
        """
        ...

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        """The states (B, Z) one period later.

        Args:
            states: float64 (B, Z).
            actions: float64 (B, A), within the task's limits, each commanded all the while.
            keys: B times 64 bits of randomness.

        Raises:
            HiwmError: The states are not its own, or MODEL_FAULT: it could not predict.
        """
        ...

    def decode(self, states: FloatArray) -> FrameArray:
        """The frames uint8 (B, H, W, 3) of states (B, Z)."""
        ...

    def heads(self, states: FloatArray, frames: FrameArray | None = None) -> Readings:
        """What is known of states (B, Z).

        Args:
            frames: What `decode` gives for them. Without, a fidelity that is judged by them is NaN.
        """
        ...


def first_observation(backend: Backend, scene: FloatArray, key: int) -> Observation:
    """The observation of a scene (S,) at rest. Raises HiwmError if it is not one of the task."""
    return observe(backend, backend.start(scene, key))[0]


def next_observation(
    backend: Backend, observation: Observation, action: FloatArray, key: int
) -> Observation:
    """The observation one period after another, with `action` (A,) commanded all the while.

    Raises:
        HiwmError: The backend cannot go on from there.
    """
    state = state_of(backend, observation, key)
    return observe(backend, backend.step(state, np.asarray(action)[None], [key]))[0]


def state_of(backend: Backend, observation: Observation, key: int) -> FloatArray:
    """The state (1, Z) of an observation.

    One of another backend is taken up where it stands: from its scene, or where it has none from
    its frame, at rest.

    Args:
        key: 64 bits of randomness, used only where the state is made anew.

    Raises:
        HiwmError: The backend can use none of these.
    """
    if observation.state.size == backend.state_size:
        return observation.state[None]
    if observation.scene.size:
        return backend.start(observation.scene, key)
    return backend.encode(observation.frame[None])


def observe(backend: Backend, states: FloatArray) -> list[Observation]:
    """The observations of states (B, Z).

    Raises:
        HiwmError: MODEL_FAULT: the backend did not give one frame and one reading for each.
    """
    frames = backend.decode(states)
    readings = backend.heads(states, frames)
    counts = {len(frames), *(len(getattr(readings, each.name)) for each in fields(readings))}
    if counts != {len(states)}:
        raise HiwmError(
            f'the backend gave {sorted(counts)} frames or readings for {len(states)} states',
            ErrorCode.MODEL_FAULT,
        )
    return [
        Observation(
            frame=frames[row],
            joints=readings.joints[row],
            scene=readings.scene[row],
            progress=float(readings.progress[row]),
            success=float(readings.success[row]),
            fidelity=float(readings.fidelity[row]),
            state=states[row],
        )
        for row in range(len(states))
    ]
