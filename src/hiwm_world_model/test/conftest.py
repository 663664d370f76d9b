# SPDX-License-Identifier: Apache-2.0
"""A small model with random weights, a made-up second task, and data of it."""

from __future__ import annotations

from collections.abc import Callable
import math

import numpy as np
import pytest
import torch

from hiwm_core.task import Task, load_task, parse_task
from hiwm_world_model.dataset import Dataset
from hiwm_world_model.model import Architecture, WorldModel

SMALL = Architecture(members=2, width=16, blocks=1, substeps=2, heads_width=8)
torch.set_num_threads(1)


def two_arms() -> Task:
    """Two arms of seven joints, and a block that only they can move."""
    joints = [f'{side}_{number}' for side in ('left', 'right') for number in range(7)]
    place = [('block_x', 0.0, 0.8), ('block_y', 0.0, 0.6)]
    lines = [
        'task: two_arms',
        'description: Turn the block.',
        'simulator: none',
        'rate: 5.0',
        'episode_steps: 50',
        'camera: {width: 64, height: 48, metres_per_pixel: 0.0125, '
        'fx: 80.0, fy: 80.0, cx: 32.0, cy: 24.0}',
        'actions:',
        *(
            f'  - {{name: {name}, unit: rad, low: -3.0, high: 3.0, max_step: 0.5}}'
            for name in joints
        ),
        'joints:',
        *(f'  - {{name: {name}, unit: rad}}' for name in joints),
        'scene:',
        *(f'  - {{name: at_{name}, unit: rad, range: [-3.0, 3.0]}}' for name in joints),
        *(f'  - {{name: {name}, unit: m, range: [{low}, {high}]}}' for name, low, high in place),
        f'  - {{name: block_angle, unit: rad, range: [{-math.pi}, {math.pi}], wraps: true}}',
        'bodies:',
        *(
            f'  - {{name: {side}, position: [{", ".join(f"at_{side}_{n}" for n in range(7))}], '
            f'points: [[0, 0, 0, 0, 0, 0, 0]]}}'
            for side in ('left', 'right')
        ),
        '  - {name: block, position: [block_x, block_y], angle: block_angle, '
        'points: [[-0.05, -0.05], [0.05, -0.05], [0.05, 0.05]]}',
        'actuated:',
        *(
            f'  - {{joints: [{", ".join(f"{side}_{n}" for n in range(7))}], body: {side}}}'
            for side in ('left', 'right')
        ),
        'success: {progress: turned, above: 0.9}',
        'reset:',
        *(f'  at_{name}: [-1.0, 1.0]' for name in joints),
        '  block_x: [0.2, 0.6]',
        '  block_y: [0.2, 0.4]',
        '  block_angle: [-3.0, 3.0]',
        'console: {keys: {}}',
    ]
    return parse_task('\n'.join(lines), 'two_arms')


def made_up_data(task: Task, episodes: int, steps: int, seed: int) -> Dataset:
    """Random walks: commanded bodies lag behind their commands, others drift."""
    generator = np.random.default_rng(seed)
    size, rows = len(task.scene), steps + 1
    low = np.array([variable.low for variable in task.scene])
    high = np.array([variable.high for variable in task.scene])
    walks = generator.normal(0.0, 0.01, (episodes, rows, size)).cumsum(1) * (high - low)
    scene = np.array([task.start_scene(number) for number in range(episodes)])[:, None] + walks
    scene = np.clip(scene, low, high).astype(np.float32)
    action = generator.uniform(
        task.action_low, task.action_high, (episodes, rows, len(task.actions))
    )
    frames = generator.integers(0, 256, (8, *task.frame_shape), np.uint8)
    return Dataset(
        scene=scene.reshape(-1, size),
        action=action.reshape(-1, len(task.actions)).astype(np.float32),
        progress=generator.random(episodes * rows).astype(np.float32),
        first=np.arange(episodes) * rows,
        length=np.full(episodes, rows),
        kind=np.array(['play'] * episodes),
        tree=np.arange(episodes),
        frames=frames,
        frame_row=np.arange(8) * 3,
        fingerprint=f'made up {seed}',
    )


@pytest.fixture
def task() -> Task:
    return load_task('pusht')


@pytest.fixture
def small_model(task: Task) -> WorldModel:
    """Random weights; the gates are opened, so that bodies move."""
    torch.manual_seed(3)
    return WorldModel(task, SMALL).freeze()


@pytest.fixture
def arms() -> Task:
    return two_arms()


@pytest.fixture
def make_data() -> Callable[[Task, int, int, int], Dataset]:
    """Makes data of a task: episodes, steps of each, seed."""
    return made_up_data


@pytest.fixture
def small() -> Architecture:
    return SMALL
