# SPDX-License-Identifier: Apache-2.0
"""gym-pusht behind the backend protocol: bit-exact to continue from any of its observations.

The interface is in metres, gym-pusht is in units of a millimetre. A state is ten float64 in
gym-pusht's units: pusher x, y, vx, vy; block x, y, angle (unwrapped), vx, vy, angular velocity. A
pymunk space remembers more than that (contact impulses for warm starts, bias velocities), so the
space is rebuilt from the ten numbers before every step; then they are the whole state, and a step
gives the same bits whether or not it follows a restore.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
import os

import numpy as np
from numpy.typing import NDArray

# gym-pusht draws on a pygame surface; without these it would ask for a display and print a banner.
os.environ.setdefault('SDL_VIDEODRIVER', 'dummy')
os.environ.setdefault('PYGAME_HIDE_SUPPORT_PROMPT', '1')

from gym_pusht.envs.pusht import PushTEnv, pymunk_to_shapely

from hiwm_core.backend import Readings
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.task import Task

FloatArray = NDArray[np.float64]

UNITS_PER_METRE = 1000.0
STATE_SIZE = 10
SCENE_NAMES = ('pusher_x', 'pusher_y', 'tee_x', 'tee_y', 'tee_angle')
# s; so short that nothing moves, while the space finds which bodies touch.
INSTANT = 1e-20


class StateEnv(PushTEnv):
    """gym-pusht whose whole state can be read and set as ten numbers."""

    def read_state(self) -> FloatArray:
        """The state (10,), see the module's docstring."""
        agent, block = self.agent, self.block
        return np.array(
            [
                *agent.position,
                *agent.velocity,
                *block.position,
                block.angle,
                *block.velocity,
                block.angular_velocity,
            ],
            dtype=np.float64,
        )

    def _get_coverage(self) -> float:
        """gym-pusht's own, with the block's two shapes always in the same order.

        There they come from a set, whose order changes from one space to the next, and with it the
        last bit of the area.
        """
        goal = self.get_goal_pose_body(self.goal_pose)
        aim = pymunk_to_shapely(goal, self._block_shapes)
        block = pymunk_to_shapely(self.block, self._block_shapes)
        return float(aim.intersection(block).area / aim.area)

    def write_state(self, state: FloatArray) -> None:
        """A fresh space in the given state (10,)."""
        self._setup()
        self._last_action = None
        values = [float(value) for value in state]
        self.agent.position = (values[0], values[1])
        self.agent.velocity = (values[2], values[3])
        # Setting the angle turns the block about its centre of gravity, which is not its origin and
        # so moves the origin: the position is set after it.
        self.block.angle = values[6]
        self.block.position = (values[4], values[5])
        self.block.velocity = (values[7], values[8])
        self.block.angular_velocity = values[9]
        self.space.reindex_shapes_for_body(self.block)
        self.space.reindex_shapes_for_body(self.agent)


def state_of_scene(scene: FloatArray) -> FloatArray:
    """The state (10,) at rest of a scene (5,) in metres and radians."""
    state = np.zeros(STATE_SIZE)
    state[0:2] = scene[0:2] * UNITS_PER_METRE
    state[4:6] = scene[2:4] * UNITS_PER_METRE
    state[6] = scene[4]
    return state


def scene_of_state(state: FloatArray) -> FloatArray:
    """The scene (5,) of a state (10,): metres, and the angle wrapped to [-pi, pi]."""
    return np.array(
        [
            state[0] / UNITS_PER_METRE,
            state[1] / UNITS_PER_METRE,
            state[4] / UNITS_PER_METRE,
            state[5] / UNITS_PER_METRE,
            math.remainder(state[6], math.tau),
        ]
    )


class PushtSimulator:
    """Push-T's physics as a `hiwm_core.backend.Backend`; deterministic, so keys play no part.

    Rows of a batch are computed one after the other, so a row's bits do not depend on the others.

    Args:
        task: Push-T's task; its scene names, camera size and rate must be gym-pusht's.

    Raises:
        ConfigurationError: The task asks for what gym-pusht does not give.
    """

    name = 'sim_arm'
    state_size = STATE_SIZE

    def __init__(self, task: Task) -> None:
        if task.scene_names != SCENE_NAMES:
            raise ConfigurationError(
                f"the simulator 'pusht' has the scene {', '.join(SCENE_NAMES)}; "
                f"task '{task.name}' names {', '.join(task.scene_names)}"
            )
        if task.rate != PushTEnv.metadata['render_fps']:
            raise ConfigurationError(
                f"the simulator 'pusht' runs at {PushTEnv.metadata['render_fps']} Hz; "
                f"task '{task.name}' asks for {task.rate:g} Hz"
            )
        self._task = task
        self._env = StateEnv(
            obs_type='state',
            observation_width=task.camera.width,
            observation_height=task.camera.height,
        )
        # What the space was last built from, if it was not stepped since: it is not built twice.
        self._built: bytes = b''

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        """The state (1, 10) of a scene (5,) at rest, as given; overlapping bodies part later.

        Raises:
            HiwmError: The scene is not one of this task.
        """
        self._built = b''
        self._env.write_state(state_of_scene(self._task.check_scene(scene)))
        return self._env.read_state()[None]

    def encode(self, frames: NDArray[np.uint8]) -> FloatArray:
        """Refused: physics cannot begin from pixels. Raises HiwmError (NOT_SUPPORTED)."""
        raise HiwmError(
            'the simulated arm does not read frames; start it from a scene',
            ErrorCode.NOT_SUPPORTED,
        )

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        """One period of 0.1 s (ten substeps of gym-pusht) towards `actions` (B, 2), metres.

        Raises:
            HiwmError: The states are not this simulator's.
        """
        if states.shape[1:] != (STATE_SIZE,):
            raise HiwmError(
                f'states of shape {states.shape} were given; '
                'the simulated arm continues only from its own states'
            )
        after = np.empty_like(states)
        for row, (state, action) in enumerate(zip(states, actions, strict=True)):
            self._env.write_state(state)
            self._built = b''
            self._env.step(np.asarray(action, dtype=np.float64) * UNITS_PER_METRE)
            after[row] = self._env.read_state()
        return after

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        """The frames uint8 (B, H, W, 3) that gym-pusht draws of states (B, 10)."""
        frames = np.empty((len(states), *self._task.frame_shape), np.uint8)
        for row, state in enumerate(states):
            self._build(state)
            frames[row] = self._env._render()
        return frames

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        """The scene and the coverage of states (B, 10), exactly."""
        scene = np.stack([scene_of_state(state) for state in states])
        coverage = np.empty(len(states))
        for row, state in enumerate(states):
            self._build(state)
            coverage[row] = self._env._get_coverage()
        return Readings(
            joints=np.stack([self._task.joints_of_scene(row) for row in scene]),
            scene=scene,
            progress=coverage,
            success=(coverage > self._task.success_above).astype(np.float64),
            fidelity=np.ones(len(states)),
        )

    def _build(self, state: FloatArray) -> None:
        """The space in a state (10,), with its contacts, which gym-pusht draws too."""
        if self._built != (built := state.tobytes()):
            self._env.write_state(state)
            self._env.space.step(INSTANT)
            self._built = built
