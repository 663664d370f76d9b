# SPDX-License-Identifier: Apache-2.0
"""The simulated arm as a backend: gym-pusht's own physics, and exact to continue from anywhere."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
import subprocess
import sys

from gym_pusht.envs.pusht import PushTEnv
import numpy as np
import pytest

from hiwm_core.backend import first_observation, next_observation
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.extension import load_backend
from hiwm_core.observation import Observation
from hiwm_core.task import load_task
from hiwm_robot.play import PlayDriver
from hiwm_robot.sims import load_expert, load_simulator, sim_arm
from hiwm_robot.sims.pusht.simulator import scene_of_state, state_of_scene
from hiwm_robot.trajectory import run_episode

TASK = load_task('pusht')
# The state and the frame after each of 20 stored (state, action) pairs, in a process of its own.
CONTINUE = """
import sys
import numpy as np
from hiwm_core.backend import next_observation
from hiwm_core.observation import Observation
from hiwm_core.task import load_task
from hiwm_robot.sims import load_simulator

stored = np.load(sys.argv[1])
backend = load_simulator(load_task('pusht'))
states, frames, progress = [], [], []
for state, actions in zip(stored['states'], stored['actions']):
    seen = Observation(np.empty((0, 0, 3), np.uint8), np.empty(0), state=state)
    for action in actions:
        seen = next_observation(backend, seen, action, 0)
    states.append(seen.state)
    frames.append(seen.frame)
    progress.append(seen.progress)
np.savez(sys.argv[2], states=states, frames=frames, progress=progress)
"""


@pytest.fixture(scope='module')
def backend():
    return load_simulator(TASK)


def contact_rich(backend, seed: int, steps: int):
    """An episode in which the block is pushed about."""
    return run_episode(TASK, backend, PlayDriver(TASK, seed), seed, steps, until_success=False)


def fresh_env() -> PushTEnv:
    return PushTEnv(obs_type='pixels')


def put_state(env: PushTEnv, state: np.ndarray) -> None:
    """gym-pusht in the state (10,), by its public bodies only."""
    env._setup()
    env.agent.position, env.agent.velocity = tuple(state[0:2]), tuple(state[2:4])
    env.block.angle = state[6]
    env.block.position, env.block.velocity = tuple(state[4:6]), tuple(state[7:9])
    env.block.angular_velocity = state[9]
    env.space.reindex_shapes_for_body(env.block)
    env.space.reindex_shapes_for_body(env.agent)


def test_a_restored_state_continues_bit_exactly_in_another_process(backend, tmp_path: Path) -> None:
    states, actions, ends, frames, progress = [], [], [], [], []
    moved = 0
    for seed in range(20):
        episode = contact_rich(backend, seed, 70)
        states.append(episode.observations[50].state)
        actions.append(episode.actions[50:])
        ends.append(episode.observations[-1].state)
        frames.append(episode.observations[-1].frame)
        progress.append(episode.observations[-1].progress)
        before, after = episode.observations[0].state, episode.observations[50].state
        moved += bool(np.abs(before[4:7] - after[4:7]).max() > 1e-3)
    assert moved >= 15, 'the block was hardly touched, so the test would show nothing'
    np.savez(tmp_path / 'stored.npz', states=states, actions=actions)
    arguments = [str(tmp_path / 'stored.npz'), str(tmp_path / 'continued.npz')]
    subprocess.run([sys.executable, '-c', CONTINUE, *arguments], check=True, timeout=120)
    continued = np.load(tmp_path / 'continued.npz')
    exact = [
        np.array_equal(state, end) for state, end in zip(continued['states'], ends, strict=True)
    ]
    assert sum(exact) == 20
    assert np.array_equal(continued['frames'], frames)
    assert np.array_equal(continued['progress'], progress)


def test_steps_are_the_same_in_any_order(backend) -> None:
    episode = contact_rich(backend, 3, 40)
    other = contact_rich(backend, 4, 40)
    for index in np.random.default_rng(0).permutation(40):
        again = next_observation(
            backend, episode.observations[index], episode.actions[index], key=int(index)
        )
        assert np.array_equal(again.state, episode.observations[index + 1].state)
        assert np.array_equal(again.frame, episode.observations[index + 1].frame)
        assert again.progress == episode.observations[index + 1].progress
        next_observation(backend, other.observations[index], other.actions[index], key=0)


def test_a_start_is_the_given_scene(backend) -> None:
    for seed in range(10):
        scene = TASK.start_scene(seed)
        seen = first_observation(backend, scene, key=seed)
        assert seen.scene == pytest.approx(scene, abs=1e-12)
        assert seen.joints == pytest.approx(scene[:2], abs=1e-12)
        assert np.array_equal(seen.frame, first_observation(backend, scene, key=0).frame)
        assert seen.fidelity == 1.0
        assert seen.state.shape == (10,)


def test_scene_and_state_convert_both_ways() -> None:
    generator = np.random.default_rng(5)
    for _ in range(50):
        scene = generator.uniform([0, 0, 0, 0, -math.pi], [0.5, 0.5, 0.5, 0.5, math.pi])
        state = state_of_scene(scene)
        assert state[0] == pytest.approx(1000.0 * scene[0])
        assert scene_of_state(state) == pytest.approx(scene, abs=1e-12)
        turned = state.copy()
        turned[6] += 2 * math.tau
        assert scene_of_state(turned) == pytest.approx(scene, abs=1e-9)


def test_frames_and_success_are_those_of_gym_pusht(backend) -> None:
    env = fresh_env()
    expert = load_expert(TASK, 0)
    seen = first_observation(backend, TASK.start_scene(2), key=0)
    for _ in range(TASK.episode_steps):
        before, action = seen, expert.action(seen)
        seen = next_observation(backend, before, action, key=0)
        put_state(env, before.state)
        pixels, _, terminated, _, info = env.step(action * 1000.0)
        assert np.array_equal(seen.frame, pixels)
        assert seen.progress == pytest.approx(info['coverage'], rel=1e-12)
        assert bool(seen.success) == bool(info['is_success']) == bool(terminated)
        if seen.success:
            break
    assert seen.success == 1.0


def test_the_entry_point_gives_the_simulator() -> None:
    found = load_backend('sim_arm', TASK)
    assert found.name == 'sim_arm'
    assert found.state_size == 10


def test_what_cannot_be_is_refused_in_one_sentence(backend) -> None:
    seen = first_observation(backend, TASK.start_scene(0), key=0)
    with pytest.raises(HiwmError, match='continues only from its own states'):
        backend.step(np.zeros((1, 50)), np.array([[0.1, 0.1]]), [0])
    pixels = Observation(seen.frame, seen.joints)
    with pytest.raises(HiwmError, match='does not read frames') as refusal:
        next_observation(backend, pixels, np.array([0.1, 0.1]), key=0)
    assert refusal.value.code is ErrorCode.NOT_SUPPORTED
    with pytest.raises(HiwmError, match='tee_x'):
        first_observation(backend, np.array([0.1, 0.1, 3.0, 0.1, 0.0]), key=0)
    with pytest.raises(ConfigurationError, match='no weights'):
        sim_arm(TASK, Path('model.safetensors'))
    for name in ('juggling', '../pusht'):
        with pytest.raises(ConfigurationError, match='not installed'):
            load_simulator(replace(TASK, simulator=name))
    with pytest.raises(ConfigurationError, match='has no simulator'):
        load_simulator(replace(TASK, simulator=''))
    with pytest.raises(ConfigurationError, match='10 Hz'):
        load_simulator(replace(TASK, rate=30.0))
    with pytest.raises(ConfigurationError, match='tee_angle'):
        load_simulator(replace(TASK, scene=TASK.scene[:-1]))
