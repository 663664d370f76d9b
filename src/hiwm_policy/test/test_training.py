# SPDX-License-Identifier: Apache-2.0
"""Training: windows, a few learned by heart, an interruption, a second task, the command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from framed_episode import episode_of
import numpy as np
import pytest
import torch

from hiwm_core.action import Source
from hiwm_core.episodes import Episode
from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_policy
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy import dataset, train
from hiwm_policy.acting import ActingData, train_acting
from hiwm_policy.dataset import Frames, join_episodes, read_demos, windows_of
from hiwm_policy.model import WEIGHTS, PolicyNetwork, load_card
from hiwm_policy.phase import Phase
from hiwm_policy.size import DiffusionSize

Build = Callable[..., PolicyNetwork]
Make = Callable[..., Frames]
SMALL = DiffusionSize(free_keypoints=4, width=32, depth=1, condition=16)


def arguments(out: Path, task: str = 'pusht') -> argparse.Namespace:
    """The command's arguments for a training of a few steps."""
    given = train.arguments(['--data', 'demos', '--out', str(out), '--device', 'cpu'])
    given.task, given.steps, given.reading_steps = task, 2, 2
    return given


@pytest.fixture
def bags(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts episodes where `read_episodes` finds bags."""

    def give(*episodes: Episode) -> None:
        monkeypatch.setattr(dataset, 'read_episodes', lambda path, task: iter(episodes))

    return give


# -- windows -------------------------------------------------------------------------------------


def test_a_window_repeats_the_first_observation_and_the_last_action(
    pusht: Task, demonstrations: Make
) -> None:
    windows = windows_of(demonstrations(pusht, episodes=2, steps=4), 2, 3, 2)
    assert windows.observations.tolist() == [
        *([0, 0], [0, 1], [1, 2], [2, 3]),
        *([5, 5], [5, 6], [6, 7], [7, 8]),
    ]
    assert windows.actions[:4].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]
    assert windows.actions[4:].tolist() == [[5, 6, 7], [6, 7, 8], [7, 8, 8], [8, 8, 8]]


@pytest.mark.parametrize('source', [Source.HANDOVER, Source.HOLD])
def test_what_nobody_chose_is_never_executed_in_a_window(
    pusht: Task, demonstrations: Make, source: Source
) -> None:
    frames = demonstrations(pusht, episodes=1, steps=6)
    frames.sources[3] = source
    windows = windows_of(frames, 1, 4, 2)
    assert windows.actions[:, 0].tolist() == [0, 1, 4, 5]


def test_a_window_counts_until_a_row_that_weighs_nothing(
    pusht: Task, demonstrations: Make, small_network: Build
) -> None:
    """A person drives, the policy goes on in the same branch, and the person drives again."""
    frames = demonstrations(pusht, episodes=1, steps=12)
    of_rows = np.ones(13)
    of_rows[[5, 6, 12]] = 0.0
    windows = windows_of(frames, 1, 4, 2).weighted(of_rows)
    assert windows.actions[:, 0].tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
    counted = ActingData(small_network(pusht, framed=True), frames, windows).counted
    # Beyond the end the last action is repeated, and counts once.
    assert counted.sum(1).tolist() == [4, 4, 3, 2, 1, 4, 4, 3, 2, 1]
    assert (counted[:, :-1] >= counted[:, 1:]).all(), 'nothing after a gap'


def test_what_is_weighed_to_its_end_is_learned_as_without_weights(
    pusht: Task, demonstrations: Make, small_network: Build
) -> None:
    frames = demonstrations(pusht, episodes=2, steps=12)
    windows = windows_of(frames, 2, 16, 4)
    network = small_network(pusht, framed=True)
    of_rows = np.full(26, 0.5)
    of_rows[13:18] = of_rows[25] = 0.0
    plain = ActingData(network, frames, windows)
    weighted = ActingData(network, frames, windows.weighted(of_rows))
    assert plain.counted.sum(1).tolist() == list(range(12, 0, -1)) * 2
    assert torch.equal(weighted.counted, torch.cat([plain.counted[:12], plain.counted[17:]]))


def test_other_sources_or_weights_are_other_data(
    pusht: Task, demonstrations: Make, small_network: Build
) -> None:
    network = small_network(pusht, framed=True)

    def fingerprint(of_rows: np.ndarray, source: Source = Source.OPERATOR) -> str:
        frames = demonstrations(pusht, episodes=1, steps=12)
        frames.sources[6] = source
        windows = windows_of(frames, 2, 16, 4).weighted(of_rows)
        return ActingData(network, frames, windows).fingerprint

    ones, gap = np.ones(13), np.ones(13)
    gap[8] = 0.0
    found = [fingerprint(ones), fingerprint(gap), fingerprint(2.0 * ones)]
    found.append(fingerprint(ones, Source.POLICY))
    assert len(set(found)) == 4
    assert fingerprint(ones) == found[0]


@pytest.mark.parametrize('source', [Source.HANDOVER, Source.HOLD])
def test_what_nobody_chose_is_not_learned_further_on_in_a_window_either(
    pusht: Task, demonstrations: Make, small_network: Build, source: Source
) -> None:
    frames = demonstrations(pusht, episodes=1, steps=12)
    frames.sources[6] = source
    network = small_network(pusht, framed=True)
    losses = []
    for moved in (0.0, 0.3):
        frames.actions[6] += moved
        data = ActingData(network, frames, windows_of(frames, 2, 16, 4))
        network.chunk_mean.zero_()
        features, chunks = data.framed_batch(torch.arange(len(data)), torch.Generator())
        loss = network.backbone.objective().loss(
            network.denoiser, features, chunks, data.counted, torch.Generator()
        )
        losses.append(float(loss.detach()))
    assert abs(losses[0] - losses[1]) < 0.05 * losses[0]


def test_only_successful_demonstrations_are_read_and_only_once(
    pusht: Task, demonstrations: Make, bags: Callable[..., None], tmp_path: Path
) -> None:
    one = demonstrations(pusht, episodes=1)
    bags(episode_of(one, pusht), episode_of(one, pusht, success=False), episode_of(one, pusht))
    frames = read_demos(tmp_path, pusht, tmp_path)
    assert frames.episodes == 2
    assert np.isnan(frames.actions[12]).all(), 'nothing follows the last frame'
    bags()
    again = read_demos(tmp_path, pusht, tmp_path, most=1)
    assert again.episodes == 1
    np.testing.assert_array_equal(again.frames, one.frames)
    with pytest.raises(ConfigurationError, match='2 successful episodes, not the 3'):
        read_demos(tmp_path, pusht, tmp_path, most=3)


def test_a_folder_without_success_and_frames_of_another_size_are_refused(
    pusht: Task, demonstrations: Make, bags: Callable[..., None], tmp_path: Path
) -> None:
    one = episode_of(demonstrations(pusht, episodes=1), pusht, success=False)
    bags(one)
    with pytest.raises(ConfigurationError, match='no successful episode of task pusht'):
        read_demos(tmp_path, pusht, tmp_path)
    with pytest.raises(ConfigurationError, match='64x48 pixels; task pusht has 96x96'):
        join_episodes([replace(one, frames=np.zeros((13, 48, 64, 3), np.uint8))], pusht)


def test_every_third_frame_is_kept_with_its_scene(pusht: Task, demonstrations: Make) -> None:
    frames = demonstrations(pusht, episodes=1, steps=7)
    thinned = join_episodes([episode_of(frames, pusht)], pusht, stride=3)
    np.testing.assert_array_equal(thinned.scene, frames.scene[[0, 3, 6]])
    np.testing.assert_array_equal(thinned.frames, frames.frames[[0, 3, 6]])
    assert thinned.rows_without({7}).size == 0
    assert thinned.rows_without({8}).tolist() == [0, 1, 2]


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize('backbone', ['diffusion', 'flow'])
def test_a_few_windows_are_learned_by_heart(
    pusht: Task, small_network: Build, demonstrations: Make, backbone: str, tmp_path: Path
) -> None:
    """What is drawn at the end is what was demonstrated."""
    frames = demonstrations(pusht, episodes=1, steps=3)
    network = small_network(pusht, framed=True, backbone=backbone).requires_grad_(True)
    network.backbone = replace(network.backbone, batch=32)
    objective = network.backbone.objective()
    data = ActingData(network, frames, windows_of(frames, 2, 16, 8))
    data.fit_scales()
    draw = torch.Generator().manual_seed(1)

    def error() -> float:
        """Of drawn chunks, in deviations of the demonstrated ones."""
        features, chunks = data.framed_batch(torch.arange(len(data)), draw)
        noise = torch.randn(chunks.shape, generator=draw)
        drawn = objective.sample(network.denoiser, features, noise)
        return float((drawn - chunks).abs()[data.counted].mean())

    untrained = error()
    train_acting(
        network,
        data,
        steps=400,
        seed=0,
        folder=tmp_path,
        device=torch.device('cpu'),
        reading_weight=0.0,
    )
    assert error() < 0.5 * untrained


def test_without_a_frame_the_policys_loss_teaches_the_encoder(
    two_arms: Task, small_network: Build, demonstrations: Make, tmp_path: Path
) -> None:
    network = small_network(two_arms).requires_grad_(True)
    frames = demonstrations(two_arms, episodes=1, scene=False)
    data = ActingData(network, frames, windows_of(frames, 2, 16, 8))
    data.fit_scales()
    before = [value.clone() for value in network.encoder.parameters()]
    train_acting(
        network,
        data,
        steps=2,
        seed=0,
        folder=tmp_path,
        device=torch.device('cpu'),
        reading_weight=1.0,
    )
    changed = [
        not torch.equal(old, new)
        for old, new in zip(before, network.encoder.parameters(), strict=True)
    ]
    # The map to landmarks has nothing to learn from where no scene is known.
    assert sum(changed) >= len(changed) - 2


def test_an_interrupted_phase_goes_on_to_the_same_result(tmp_path: Path) -> None:
    def fresh() -> torch.nn.Linear:
        torch.manual_seed(0)
        return torch.nn.Linear(3, 1)

    def run(folder: Path, stop_after: int | None = None) -> Phase:
        folder.mkdir(exist_ok=True)
        module = fresh()
        phase = Phase('toy', module, steps=40, rate=0.1, seed=5, folder=folder, data='toys')
        taken = 0

        def loss(generator: torch.Generator) -> torch.Tensor:
            nonlocal taken
            if taken == stop_after:
                phase._store()
                raise KeyboardInterrupt
            taken += 1
            x = torch.randn(8, 3, generator=generator)
            return (module(x).float() - x.sum(1, keepdim=True)).square().mean()

        try:
            phase.run(loss)
        except KeyboardInterrupt:
            assert stop_after is not None
        return phase

    whole = run(tmp_path / 'whole')
    run(tmp_path / 'parts', stop_after=17)
    rest = run(tmp_path / 'parts')
    assert rest.step == 40
    for name, value in whole.averaged.state_dict().items():
        torch.testing.assert_close(rest.averaged.state_dict()[name], value, rtol=0, atol=0)
    assert rest.loss == pytest.approx(whole.loss)
    other = Phase(
        'toy', fresh(), steps=40, rate=0.1, seed=5, folder=tmp_path / 'parts', data='others'
    )
    assert other.step == 0, 'what was learned from other data is not gone on from'
    begun = fresh()
    torch.nn.init.zeros_(begun.bias)
    other = Phase('toy', begun, steps=40, rate=0.1, seed=5, folder=tmp_path / 'parts', data='toys')
    assert other.step == 0, 'nor what began with other weights'


def test_the_command_trains_what_the_policy_loads(
    pusht: Task, demonstrations: Make, bags: Callable[..., None], tmp_path: Path
) -> None:
    bags(*(episode_of(demonstrations(pusht, episodes=1, seed=seed), pusht) for seed in range(3)))
    card = train.train(arguments(tmp_path), replace(SMALL, framed=True))
    assert card['steps'] == {'reading': 2, 'acting': 2}
    assert card['data']['demo_episodes'] == 3
    assert (card['data']['reading_episodes'], card['data']['reading_frames']) == (3, 26)
    assert card['metrics']['landmark_error_m']['median'] > 0.0
    assert (tmp_path / 'chunks.png').stat().st_size > 1000
    policy = load_policy('diffusion', pusht, tmp_path)
    seen = Observation(np.zeros(pusht.frame_shape, np.uint8), np.full(2, 0.2))
    assert np.isfinite(policy.chunk([seen], 0)).all()


def test_nothing_is_claimed_of_an_encoder_that_was_taken_over(
    pusht: Task, demonstrations: Make, bags: Callable[..., None], tmp_path: Path
) -> None:
    episodes = [
        episode_of(demonstrations(pusht, episodes=1, seed=seed), pusht) for seed in range(3)
    ]
    size = replace(SMALL, framed=True)
    bags(*episodes)
    reader = train.train(arguments(tmp_path / 'reader'), size)
    bags(*episodes)
    given = arguments(tmp_path / 'other')
    given.encoder, given.pretrain = tmp_path / 'reader', Path('play')
    card = train.train(given, size)
    assert card['data']['encoder'] == load_card(tmp_path / 'reader')['weights_sha256']
    assert set(reader['data']) - set(card['data']) == {'reading_episodes', 'reading_frames'}
    assert card['data']['pretrain'] is None, 'its frames were not looked at'
    assert set(card['metrics']) == {'chunk_error'}


def test_another_encoder_is_learned_on_from_its_own_beginning(
    two_arms: Task,
    demonstrations: Make,
    bags: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(train, 'load_task', lambda name: two_arms)
    frames = demonstrations(two_arms, episodes=1)

    def weights_of(out: str, reading_steps: int) -> bytes:
        bags(*[episode_of(frames, two_arms)] * 2)
        given = arguments(tmp_path / out, 'two_arms')
        given.reading_steps = reading_steps
        train.train(given, SMALL)
        return (tmp_path / out / WEIGHTS).read_bytes()

    before = weights_of('out', 2)
    after = weights_of('out', 3)
    assert before != after == weights_of('fresh', 3)


def test_two_arms_and_fourteen_actions_train(
    two_arms: Task,
    demonstrations: Make,
    bags: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(train, 'load_task', lambda name: two_arms)
    frames = demonstrations(two_arms, episodes=1)
    bags(*[episode_of(frames, two_arms)] * 2)
    card = train.train(arguments(tmp_path, 'two_arms'), SMALL)
    assert set(card['steps']) == {'reading', 'acting'}, 'the towel has landmarks to read'
    assert len(card['metrics']['chunk_error']) == 14
    policy = load_policy('diffusion', two_arms, tmp_path)
    seen = Observation(np.zeros(two_arms.frame_shape, np.uint8), np.zeros(14))
    assert policy.chunk([seen], 0).shape == (16, 14)


def test_without_a_scene_nothing_is_read(
    pusht: Task, demonstrations: Make, bags: Callable[..., None], tmp_path: Path
) -> None:
    bags(*[episode_of(demonstrations(pusht, episodes=1, scene=False), pusht)] * 2)
    card = train.train(arguments(tmp_path), SMALL)
    assert set(card['steps']) == {'acting'}
    assert 'landmark_error_m' not in card['metrics']
