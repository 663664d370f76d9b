# SPDX-License-Identifier: Apache-2.0
"""Training: resumed to the same end, for any task, and from real bags to a measured model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hiwm_core import contract
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.extension import load_backend
from hiwm_core.task import Task
from hiwm_rig.message_bag import MessageBag
from hiwm_robot.collect_node import main as collect
from hiwm_robot.episode_bag import write_episode
from hiwm_robot.play import PLAY, PlayDriver
from hiwm_robot.trajectory import run_episode
from hiwm_world_model import evaluate, fit, train, training
from hiwm_world_model.backend import WorldModelBackend
from hiwm_world_model.dataset import Dataset, Windows, cached_dataset, read_dataset
from hiwm_world_model.fit import Fit
from hiwm_world_model.held_out import read_courses
from hiwm_world_model.model import Architecture
from hiwm_world_model.rollout import auroc, psnr
from hiwm_world_model.weights import load_model, save_model

MakeData = Callable[[Task, int, int, int], Dataset]
FEW = training.Settings(
    seed=1,
    servo_steps=3,
    dynamics_steps=5,
    decoder_steps=2,
    encoder_steps=2,
    heads_steps=2,
    pictures=8,
)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch, small: Architecture) -> None:
    monkeypatch.setattr(training, 'Architecture', lambda: small)
    monkeypatch.setattr(training, 'CURRICULUM', ((0.5, 1, 4), (0.5, 2, 4)))


def weights_after(task: Task, data: Dataset, folder: Path) -> dict[str, Tensor]:
    made = training.Training(task, data, FEW, folder, torch.device('cpu'))
    made.run()
    return {name: value.clone() for name, value in made.model.state_dict().items()}


@pytest.mark.parametrize('stage', ['dynamics', 'encoder'])
def test_an_interrupted_training_ends_the_same(
    tmp_path: Path, task: Task, make_data: MakeData, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    data = make_data(task, 13, 12, 0)
    whole = weights_after(task, data, tmp_path / 'whole')
    monkeypatch.setattr(fit, 'SAVE_SECONDS', 0.0)
    loss = getattr(training.Training, f'_{stage}_loss')

    def interrupted(self: training.Training, step: int, generator: np.random.Generator) -> Tensor:
        if step == 1 and not (tmp_path / 'came here').exists():
            (tmp_path / 'came here').touch()
            raise KeyboardInterrupt
        result: Tensor = loss(self, step, generator)
        return result

    monkeypatch.setattr(training.Training, f'_{stage}_loss', interrupted)
    with pytest.raises(KeyboardInterrupt):
        weights_after(task, data, tmp_path / 'broken')
    resumed = weights_after(task, data, tmp_path / 'broken')
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name


def test_a_folder_of_another_training_is_refused(
    tmp_path: Path, task: Task, make_data: MakeData
) -> None:
    weights_after(task, make_data(task, 13, 12, 0), tmp_path)
    with pytest.raises(ConfigurationError, match='other settings, data or code'):
        training.Training(task, make_data(task, 13, 12, 1), FEW, tmp_path, torch.device('cpu'))


def test_two_arms_with_fourteen_joints(tmp_path: Path, arms: Task, make_data: MakeData) -> None:
    made = training.Training(arms, make_data(arms, 13, 12, 0), FEW, tmp_path, torch.device('cpu'))
    before = made.model.dynamics.log_stiffness.detach().clone()
    made.run()
    assert made.model.dynamics.log_stiffness.shape == (14,)
    assert not torch.equal(made.model.dynamics.log_stiffness, before)
    save_model(tmp_path, made.model, {})
    backend = WorldModelBackend(load_model(tmp_path, arms))
    seen = first_observation(backend, arms.start_scene(2), 0)
    assert seen.frame.shape == (48, 64, 3)
    for _ in range(3):
        seen = next_observation(backend, seen, np.full(14, 2.5), 9)
    assert seen.joints.shape == (14,)
    assert (seen.joints > arms.joints_of_scene(arms.start_scene(2))).all()
    assert np.isfinite([seen.progress, seen.success, seen.fidelity]).all()


def test_the_loss_falls(tmp_path: Path) -> None:
    """The loop itself, on a problem whose solution is known."""
    model = torch.nn.Linear(3, 1, bias=False)
    goal = torch.tensor([[1.0, -2.0, 0.5]])

    def loss_of(step: int, generator: np.random.Generator) -> Tensor:
        inputs = torch.from_numpy(generator.standard_normal((16, 3), np.float32))
        return (model(inputs) - inputs @ goal.T).square().mean()

    loop = Fit(model, tmp_path, 0, 'linear')
    loop.run('only', model.parameters(), 800, 0.05, loss_of)
    torch.testing.assert_close(model.weight.detach(), goal, atol=0.02, rtol=0.0)
    assert not loop.untouched('only')


class _OfMeta(torch.autograd.Function):
    """A loss of one, on the CPU, of weights on the `meta` device, which hold no numbers."""

    @staticmethod
    def forward(context: Any, weight: Tensor) -> Tensor:
        context.like = weight
        return torch.ones(())

    @staticmethod
    def backward(context: Any, _: Tensor) -> Tensor:
        return torch.zeros_like(context.like)


@pytest.mark.filterwarnings('ignore:.*copying from a non-meta parameter')
def test_what_was_averaged_goes_on_where_the_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any device but the CPU does: one operation on tensors of two devices would fail."""
    monkeypatch.setattr(fit, 'SAVE_SECONDS', 0.0)

    def stage(device: str, loss_of: Callable[[int, Tensor], Tensor]) -> Fit:
        model = torch.nn.Linear(3, 1, bias=False, device=device)
        loop = Fit(model, tmp_path, 0, 'linear')
        loop.run('only', model.parameters(), 4, 0.1, lambda step, _: loss_of(step, model.weight))
        return loop

    def interrupted(step: int, weight: Tensor) -> Tensor:
        if step == 2:
            raise KeyboardInterrupt
        return weight.square().sum()

    with pytest.raises(KeyboardInterrupt):
        stage('cpu', interrupted)
    assert stage('meta', lambda step, weight: _OfMeta.apply(weight)).losses['only'] > 0.0


def test_windows_stay_within_episodes(task: Task, make_data: MakeData) -> None:
    data = make_data(task, 5, 12, 0)
    moving = np.zeros(len(data.scene), np.bool_)
    moving[[4, 30]] = True
    windows = Windows(data, moving, np.arange(len(data.scene)))
    rows, first = windows.draw(np.random.default_rng(0), 500, 7, 1.0)
    assert (rows // 13 == (rows + 7) // 13).all()
    assert all(moving[row : row + 7].any() for row in rows)
    assert (first == (rows % 13 == 0)).all()
    with pytest.raises(ConfigurationError, match='no episode to train from has 13 steps'):
        windows.draw(np.random.default_rng(0), 5, 13, 0.5)


def test_measures() -> None:
    black, grey = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 51, np.uint8)
    assert psnr(black, grey) == pytest.approx([13.979, 13.979], abs=1e-3)
    assert psnr(black, black) == pytest.approx([60.0, 60.0])
    positive = np.array([False, True, False, True])
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), positive) == 0.75
    assert auroc(np.ones(4), positive) == 0.5
    assert np.isnan(auroc(np.ones(4), np.ones(4, np.bool_)))


def run(monkeypatch: pytest.MonkeyPatch, main: Callable[[], int], *arguments: object) -> int:
    """A command's exit code."""
    monkeypatch.setattr(sys, 'argv', ['command', *(str(argument) for argument in arguments)])
    return main()


def test_from_bags_to_figures(
    tmp_path: Path,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bags, out = tmp_path / 'bags', tmp_path / 'out'
    for kind in ('play', 'edge'):
        length = ['--episodes', '1', '--steps', '25', '--seed', '50']
        collected = collect(['--kind', kind, '--out', str(bags / kind), *length])
        assert collected == 0
    data = cached_dataset(bags, task, 0, 40, out)
    assert set(data.kind) == {'play', 'edge'}
    assert len(data.frames) == 40
    assert np.array_equal(cached_dataset(bags, task, 0, 40, out).frames, data.frames)
    few = ['--servo-steps', 200, '--dynamics-steps', 2, '--decoder-steps', 2]
    few += ['--encoder-steps', 2, '--heads-steps', 2, '--pictures', 40]
    where = ['--data', bags, '--heldout', bags, '--out', out, '--json', out / 'facts.json']
    assert run(monkeypatch, train.main, *where, *few) == 0
    facts = json.loads((out / 'facts.json').read_text())
    assert facts['data']['episodes'] == 2
    assert {'play', 'edge', 'all'} == set(facts['metrics'])
    # The arm follows its commands after the first stage alone; the pictures are not learned yet.
    assert facts['metrics']['all']['scene_agent_px']['20']['p50'] < 1.5
    assert (out / 'drift.png').stat().st_size > 1000
    figures = out / 'again' / 'figures.json'
    asked = ['--data', bags, '--model', out, '--seed', 1, '--episodes', 1, '--json', figures]
    asked += ['--play-steps', 0]
    assert run(monkeypatch, evaluate.main, *asked) == 0
    assert json.loads(figures.read_text())['t_px']['20']['episodes'] == 2
    assert (figures.parent / 'strip.png').exists()
    capsys.readouterr()
    assert run(monkeypatch, train.main, '--data', tmp_path / 'none', '--out', out, *few) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith('train: there is no folder')
    assert run(monkeypatch, evaluate.main, '--data', bags, '--model', tmp_path) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith('evaluate: there is no ')


def test_a_missing_gpu_is_named() -> None:
    if torch.cuda.is_available():
        assert train.pick_device('auto').type == 'cuda'
    else:
        with pytest.raises(HiwmError, match='there is none to use'):
            train.pick_device('cuda')


def test_episodes_kept_back_may_be_shorter_than_the_others(
    tmp_path: Path, task: Task, make_data: MakeData
) -> None:
    long, short = make_data(task, 11, 80, 0), make_data(task, 1, 40, 1)
    rows = ('scene', 'action', 'progress')
    data = replace(
        long,
        **{name: np.concatenate([getattr(long, name), getattr(short, name)]) for name in rows},
        first=np.append(long.first, len(long.scene)),
        length=np.append(long.length, 41),
        kind=np.append(long.kind, 'play'),
        tree=np.arange(12),
    )
    assert set(np.flatnonzero(data.tree == 11)) == {11}
    assert len(data.episode_rows(validation=True)) == 41
    made = training.Training(task, data, FEW, tmp_path, torch.device('cpu'))
    made.run()
    assert not made.fit.untouched('calibration')


def test_another_task_is_another_training(tmp_path: Path, task: Task, make_data: MakeData) -> None:
    """The weights of before must not be signed as those of the changed task."""
    data = make_data(task, 13, 12, 0)
    weights_after(task, data, tmp_path)
    with pytest.raises(ConfigurationError, match='other settings, data or code'):
        weights_after(replace(task, success_above=0.8), data, tmp_path)


def test_branches_of_a_tree_are_all_kept_back_or_none(task: Task, make_data: MakeData) -> None:
    data = replace(make_data(task, 13, 12, 0), tree=np.array([0] * 6 + [11] * 7))
    kept_back = set(data.episode_rows(validation=True) // 13)
    assert kept_back == set(range(6, 13))
    assert set(data.episode_rows(validation=False) // 13) == set(range(6))


def test_a_world_model_learns_nothing_from_its_own_pictures(tmp_path: Path, task: Task) -> None:
    backend = load_backend('sim_arm', task)
    episode = run_episode(
        task, backend, PlayDriver(task, 0, PLAY), seed=0, steps=15, until_success=False
    )
    for name, fidelity in (('physics', 1.0), ('imagined', 0.97)):
        with MessageBag(tmp_path / name / 'play_0', contract.RIG_TOPICS, {'task': 'pusht'}) as bag:
            write_episode(
                bag,
                task,
                observations=[replace(one, fidelity=fidelity) for one in episode.observations],
                actions=episode.actions,
                sources=[episode.source] * len(episode.actions),
                device='play',
                rig='world_model',
                session=name,
                seed=0,
            )
    assert len(read_dataset(tmp_path, task, 0, 8).first) == 1
    with pytest.raises(ConfigurationError, match='physics'):
        read_dataset(tmp_path / 'imagined', task, 0, 8)
    with pytest.raises(ConfigurationError, match='physics'):
        read_courses(task, tmp_path / 'imagined', seed=0, episodes=3, steps=10)
