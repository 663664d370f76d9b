# SPDX-License-Identifier: Apache-2.0
"""Real LeRobot checkpoints drive: their chunks are those of LeRobot's own rollout, bit for bit."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import signal
import subprocess

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.extension import open_policy
from hiwm_core.lerobot_environment import lerobot_command, lerobot_python
from hiwm_core.observation import Observation
from hiwm_core.task import Task, load_task
from hiwm_policy.lerobot_policy import LeRobotPolicy


def installed() -> bool:
    try:
        lerobot_python()
    except ConfigurationError:
        return False
    return True


pytestmark = [
    pytest.mark.skipif(
        not installed(), reason='LeRobot is not installed (`make lerobot` installs it)'
    ),
    pytest.mark.timeout(600),
]

# Makes small checkpoints with random weights, and lets LeRobot's own rollout act by each of them
# through two chunks; the second one is what a hosted policy must give.
MAKE = """
import sys
from pathlib import Path
import numpy as np, torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.utils.control_utils import predict_action

KINDS = {
    'act': dict(chunk_size=10, n_action_steps=6, dim_model=32, n_heads=2, dim_feedforward=32,
                n_encoder_layers=1, n_vae_encoder_layers=1, latent_dim=4),
    'diffusion': dict(n_obs_steps=2, horizon=16, n_action_steps=8, down_dims=(16, 32), n_groups=4,
                      diffusion_step_embed_dim=16, crop_shape=None, num_inference_steps=3),
}
torch.set_num_threads(1)
out = Path(sys.argv[1])
seen = np.load(out / 'seen.npz')
camera = 'observation.images.camera'
for kind, options in KINDS.items():
    torch.manual_seed(0)
    config = make_policy_config(
        kind, device='cpu', push_to_hub=False, pretrained_backbone_weights=None,
        input_features={camera: PolicyFeature(FeatureType.VISUAL, (3, 96, 96)),
                        'observation.state': PolicyFeature(FeatureType.STATE, (2,))},
        output_features={'action': PolicyFeature(FeatureType.ACTION, (2,))}, **options)
    policy = get_policy_class(kind)(config).eval()
    shapes = {camera: (3, 1, 1), 'observation.state': (2,), 'action': (2,)}
    stats = {name: dict(mean=torch.full(shape, 0.25), std=torch.full(shape, 0.1),
                        min=torch.zeros(shape), max=torch.full(shape, 0.5))
             for name, shape in shapes.items()}
    before, after = make_pre_post_processors(config, dataset_stats=stats)
    for part in (policy, before, after):
        part.save_pretrained(out / kind)
    policy.reset()
    actions = []
    for step in range(2 * config.n_action_steps):
        if step == config.n_action_steps:
            torch.manual_seed(5)
        row = {camera: seen['frames'][step], 'observation.state': seen['joints'][step]}
        actions.append(predict_action(row, policy, torch.device('cpu'), before, after, False, ''))
    np.save(out / f'{kind}.npy', torch.cat(actions)[config.n_action_steps:].numpy())
"""


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def observations() -> list[Observation]:
    draw = np.random.default_rng(1)
    return [
        Observation(draw.integers(0, 256, (96, 96, 3), np.uint8), draw.uniform(0.1, 0.4, 2))
        for _ in range(16)
    ]


@pytest.fixture(scope='module')
def checkpoints(observations: list[Observation], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp('checkpoints')
    np.savez(
        out / 'seen.npz',
        frames=[each.frame for each in observations],
        joints=np.array([each.joints for each in observations], np.float32),
    )
    _, environment = lerobot_command('unused', [])
    done = subprocess.run(
        [str(lerobot_python()), '-c', MAKE, str(out)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return out


def by_id(checkpoints: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The checkpoint lies where the hub's client keeps what it has fetched, and there alone."""
    home = checkpoints / 'hub'
    kept = home / f'models--someone--{kind}'
    (kept / 'refs').mkdir(parents=True)
    (kept / 'refs' / 'main').write_text('0' * 40)
    shutil.move(checkpoints / kind, kept / 'snapshots' / ('0' * 40))
    monkeypatch.setenv('HF_HUB_CACHE', str(home))
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    return f'lerobot:someone/{kind}'


def chunk_of(
    policy: LeRobotPolicy, checkpoints: Path, observations: list[Observation]
) -> NDArray[np.float64]:
    """The chunk that follows LeRobot's first one, which must be that of its own rollout."""
    steps, task = policy.chunk_steps, load_task('pusht')
    history = observations[steps - policy.context + 1 : steps + 1]
    policy.chunk(observations[:1], 1)
    chunk = policy.chunk(history, 5)
    kind = policy.name.partition(':')[2]
    wanted = np.load(checkpoints / f'{kind}.npy').astype(np.float64)
    np.testing.assert_array_equal(chunk, np.clip(wanted, task.action_low, task.action_high))
    assert np.ptp(chunk) > 0.0
    return chunk


def test_act_from_a_folder_acts_as_in_lerobots_own_rollout(
    checkpoints: Path, observations: list[Observation], task: Task
) -> None:
    policy = open_policy(task, f'lerobot:{checkpoints / "act"}')
    assert isinstance(policy, LeRobotPolicy)
    assert (policy.name, policy.context, policy.chunk_steps) == ('lerobot:act', 1, 6)
    chunk_of(policy, checkpoints, observations)
    os.kill(policy._process.pid, signal.SIGKILL)
    with pytest.raises(HiwmError, match='has died') as death:
        policy.chunk(observations[:1], 5)
    assert '\n' not in death.value.message


def test_diffusion_by_its_id_acts_as_in_lerobots_own_rollout(
    checkpoints: Path,
    observations: list[Observation],
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = open_policy(task, by_id(checkpoints, 'diffusion', monkeypatch))
    assert isinstance(policy, LeRobotPolicy)
    assert (policy.name, policy.context, policy.chunk_steps) == ('lerobot:diffusion', 2, 8)
    chunk = chunk_of(policy, checkpoints, observations)
    again = observations[7:9]
    np.testing.assert_array_equal(policy.chunk(again, 5), chunk)
    assert not np.array_equal(policy.chunk(again, 6), chunk), 'another key, another chunk'


def test_a_folder_without_a_checkpoint_is_one_sentence(task: Task, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r'no LeRobot checkpoint: config.json is missing'):
        open_policy(task, f'lerobot:{tmp_path}')
