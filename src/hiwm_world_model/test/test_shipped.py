# SPDX-License-Identifier: Apache-2.0
"""The shipped weights of Push-T beside gym-pusht's physics."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hiwm_core.backend import first_observation, next_observation, observe
from hiwm_core.extension import load_backend
from hiwm_core.task import Task, load_task
from hiwm_world_model.backend import WorldModelBackend, make_backend
from hiwm_world_model.rollout import psnr
from hiwm_world_model.weights import CARD_NAME, WEIGHTS_NAME

SHIPPED = Path(__file__).parents[2] / 'hiwm_bringup' / 'models' / 'pusht' / 'world_model'
PIXEL = 0.512 / 96


@pytest.fixture(scope='module')
def pusht() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def backend(pusht: Task) -> WorldModelBackend:
    return make_backend(pusht, SHIPPED)


def test_the_files(backend: WorldModelBackend) -> None:
    assert (SHIPPED / WEIGHTS_NAME).stat().st_size < 20e6
    card = json.loads((SHIPPED / CARD_NAME).read_text())
    for entry in ('data', 'settings', 'seconds', 'code_sha256', 'device', 'metrics'):
        assert card[entry], entry
    assert card['metrics']['all']['t_px']['20']['p50'] < 3.0


@pytest.mark.parametrize('place', [(0.1, 0.1), (0.42, 0.25), (0.256, 0.4)])
def test_the_pusher_goes_where_it_is_told(
    backend: WorldModelBackend, place: tuple[float, float]
) -> None:
    for number in range(16):
        angle = number * math.pi / 8
        direction = np.array([math.cos(angle), math.sin(angle)])
        seen = first_observation(backend, np.array([*place, 0.256, 0.256, 0.7]), 0)
        for _ in range(2):
            seen = next_observation(backend, seen, np.array(place) + 0.06 * direction, number)
        moved = seen.scene[:2] - np.array(place)
        assert moved @ direction > 0.02
        assert moved @ direction > 0.99 * float(np.linalg.norm(moved))


def test_what_is_not_touched_stays(backend: WorldModelBackend) -> None:
    start = first_observation(backend, np.array([0.05, 0.05, 0.35, 0.3, 1.0]), 0)
    seen = start
    for step in range(60):
        seen = next_observation(backend, seen, np.array([0.05 + 0.002 * step, 0.05]), step)
    assert np.abs(seen.scene[2:] - start.scene[2:]).max() < 1e-6
    assert seen.fidelity > 0.8


def test_frames_are_those_of_the_physics(pusht: Task, backend: WorldModelBackend) -> None:
    physics = load_backend('sim_arm', pusht)
    for seed in range(8):
        scene = pusht.start_scene(seed)
        quality = psnr(
            first_observation(backend, scene, 0).frame, first_observation(physics, scene, 0).frame
        )
        assert quality > 30.0, f'seed {seed}'


def test_the_block_hides_the_goal(pusht: Task, backend: WorldModelBackend) -> None:
    """On its goal the block is as grey as beside it; nothing green shines through."""
    physics = load_backend('sim_arm', pusht)
    scene = np.array([0.1, 0.1, 0.256, 0.256, math.pi / 4])
    seen, true = (
        first_observation(rig, scene, 0).frame.astype(float) for rig in (backend, physics)
    )
    away = first_observation(physics, np.array([0.1, 0.1, 0.1, 0.35, 0.0]), 0).frame.astype(float)
    goal = (away[..., 1] > away[..., 0] + 60.0) & (away[..., 1] > away[..., 2] + 60.0)
    assert goal.sum() > 150, 'the goal is not green, nothing is tested'
    assert np.median(np.abs(seen - true).max(-1)[goal]) < 10.0


def test_a_push_is_that_of_the_physics(pusht: Task, backend: WorldModelBackend) -> None:
    physics = load_backend('sim_arm', pusht)
    for offset in (-0.04, 0.0, 0.04):
        scene = np.array([0.256 + offset, 0.14, 0.256, 0.2, 0.0])
        seen, true = first_observation(backend, scene, 0), first_observation(physics, scene, 0)
        for step in range(20):
            action = np.array([0.256 + offset, 0.15 + 0.008 * step])
            seen, true = (
                next_observation(backend, seen, action, step),
                next_observation(physics, true, action, 0),
            )
        assert np.abs(true.scene[3] - scene[3]) > 0.05, 'the push missed'
        apart = float(np.linalg.norm(seen.scene[2:4] - true.scene[2:4])) / PIXEL
        turned = abs(math.remainder(seen.scene[4] - true.scene[4], math.tau))
        assert apart < 3.0
        assert math.degrees(turned) < 8.0


def test_the_encoder_reads_the_decoder(pusht: Task, backend: WorldModelBackend) -> None:
    scenes = torch.tensor(
        np.array([pusht.start_scene(seed) for seed in range(40)]), dtype=torch.float32
    )
    with torch.inference_mode():
        model = backend.model
        found = model.encode(model.decode(scenes))
        apart = model.distance(found, scenes)
    assert float(apart.median()) < 1.0
    assert float(apart.quantile(0.9)) < 3.0


def test_a_picture_is_a_start(pusht: Task, backend: WorldModelBackend) -> None:
    physics = load_backend('sim_arm', pusht)
    true = first_observation(physics, np.array([0.1, 0.4, 0.3, 0.2, 2.0]), 0)
    seen = observe(backend, backend.encode(true.frame[None]))[0]
    assert np.abs(seen.scene[:4] - true.scene[:4]).max() < 2 * PIXEL
    assert abs(math.remainder(seen.scene[4] - true.scene[4], math.tau)) < math.radians(6.0)


def test_the_heads_know_success(pusht: Task, backend: WorldModelBackend) -> None:
    physics = load_backend('sim_arm', pusht)
    away = [0.1, 0.1]
    for shift, turned in ((0.0, 0.0), (0.004, 0.02), (0.02, 0.1), (0.06, 0.4), (0.12, 2.0)):
        scene = np.array([*away, 0.256 + shift, 0.256, math.pi / 4 + turned])
        seen, true = first_observation(backend, scene, 0), first_observation(physics, scene, 0)
        assert seen.progress == pytest.approx(true.progress, abs=0.1)
        if abs(true.progress - pusht.success_above) > 0.03:
            assert (seen.success > 0.5) == (true.success > 0.5)
