# SPDX-License-Identifier: Apache-2.0
"""The shipped weights of Push-T: what the card says, and that they see and drive."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hiwm_core.backend import first_observation
from hiwm_core.extension import load_backend
from hiwm_core.task import Task
from hiwm_policy.encoder import images_of
from hiwm_policy.evaluate import run_episode
from hiwm_policy.model import CARD, WEIGHTS, load_model
from hiwm_policy.policy import diffusion
from hiwm_policy.reproduce import EVALUATION_SEED

MODELS = Path(__file__).parents[2] / 'hiwm_bringup' / 'models' / 'pusht'
SHIPPED, POST_TRAINED = MODELS / 'policy', MODELS / 'policy_hi_wm'
REPORT = Path(__file__).parents[3] / 'results' / 'pusht' / 'report.json'


def test_the_files() -> None:
    assert (SHIPPED / WEIGHTS).stat().st_size < 20e6
    card = json.loads((SHIPPED / CARD).read_text())
    for entry in ('data', 'seed', 'steps', 'seconds', 'device', 'metrics', 'training_code_sha256'):
        assert entry in card
    measured = card['evaluation']['sim_arm']
    assert measured['episodes'] >= 100
    assert 0.2 <= measured['success'] <= 0.6, 'a base policy has room to fail'


def test_the_post_trained_one_is_of_the_shipped_base_and_better(pusht: Task) -> None:
    network, card = load_model(POST_TRAINED, pusht)
    base_network, base = load_model(SHIPPED, pusht)
    assert (POST_TRAINED / WEIGHTS).stat().st_size < 20e6
    facts = card['post_training']
    assert facts['base_weights_sha256'] == base['weights_sha256']
    assert facts['virtual_share'] <= 0.35
    for name, value in base_network.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], value), 'the encoder stays'
    measured, before = (each['evaluation']['sim_arm'] for each in (card, base))
    assert (measured['first_seed'], measured['episodes']) == (10_000_000, 200)
    assert not set(facts['start_seeds']) & set(range(10_000_000, 10_000_200))
    assert measured['interval_95'][0] > before['interval_95'][1]


@pytest.mark.parametrize('backbone', ['diffusion', 'flow'])
def test_what_the_report_is_about_is_what_is_shipped(pusht: Task, backbone: str) -> None:
    folder = MODELS / 'study' / f'{backbone}_hi_wm'
    assert (folder / WEIGHTS).stat().st_size < 20e6
    network, card = load_model(folder, pusht)
    assert network.size.backbone == backbone
    facts, measured = card['post_training'], card['evaluation']['sim_arm']
    assert facts['virtual_share'] <= 0.35
    evaluated = range(EVALUATION_SEED, EVALUATION_SEED + measured['episodes'])
    assert measured['first_seed'] == evaluated.start
    assert not set(facts['start_seeds']) & set(evaluated)
    report = json.loads(REPORT.read_text())['backbones'][backbone]
    assert report['hi_wm']['success'] == measured['success']
    assert 0.2 <= report['base']['success'] <= 0.6, 'a base policy has room to fail'
    assert report['gain_over_base']['low'] > 0.0


def test_it_reads_the_pose_from_frames_it_has_not_seen(pusht: Task) -> None:
    network, _ = load_model(SHIPPED, pusht)
    physics = load_backend('sim_arm', pusht)
    scenes = np.array([pusht.start_scene(seed) for seed in range(20_000_000, 20_000_040)])
    frames = np.stack([first_observation(physics, scene, 0).frame for scene in scenes])
    assert network.frame is not None
    with torch.inference_mode():
        _, landmarks = network.encoder(images_of(torch.from_numpy(frames)))
        origin, angle = network.frame.pose(landmarks)
    away = np.linalg.norm(origin.numpy() - scenes[:, 2:4], axis=1)
    turned = [
        abs(math.remainder(a - b, math.tau)) for a, b in zip(angle, scenes[:, 4], strict=True)
    ]
    assert np.median(away) < 0.003
    assert math.degrees(float(np.median(turned))) < 2.0


@pytest.mark.parametrize('seed', [20_000_000])
def test_it_moves_the_block_towards_its_goal(pusht: Task, seed: int) -> None:
    physics = load_backend('sim_arm', pusht)
    start = first_observation(physics, pusht.start_scene(seed), 0)
    result = run_episode(pusht, physics, diffusion(pusht, SHIPPED), seed)
    assert result.best_progress > start.progress + 0.3
