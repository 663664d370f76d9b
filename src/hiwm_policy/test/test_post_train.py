# SPDX-License-Identifier: Apache-2.0
"""Post-training from end to end with a tiny network: what it makes, says, resumes and refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
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
from hiwm_policy import dataset, post_train, virtual
from hiwm_policy.dataset import Frames
from hiwm_policy.model import WEIGHTS, PolicyNetwork, load_card, save_model

Build = Callable[..., PolicyNetwork]
Arguments = Callable[..., argparse.Namespace]


@pytest.fixture
def base(request: pytest.FixtureRequest, pusht: Task, small_network: Build, tmp_path: Path) -> Path:
    """A base policy of a backbone, trained on five demonstrations as its card says."""
    network = small_network(pusht, framed=True, backbone=getattr(request, 'param', 'diffusion'))
    save_model(network, tmp_path / 'base', {'data': {'demo_episodes': 5}})
    return tmp_path / 'base'


@pytest.fixture
def given(
    base: Path,
    pusht: Task,
    demonstrations: Callable[..., Frames],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Arguments:
    """Six demonstrations of 12 steps, four corrections of 12, four attempts that succeeded."""

    def made(number: int, **changes: object) -> Episode:
        frames = demonstrations(pusht, episodes=1, seed=number)
        return episode_of(frames, pusht, seed=number, **changes)

    demos = [made(number) for number in range(6)]
    kind = {'kind': 'session'}
    policy = np.full(12, Source.POLICY, np.uint8)
    sessions = [made(10 + n, session=f's{n}', **kind) for n in range(4)]
    sessions += [made(20 + n, session=f'r{n}', sources=policy, **kind) for n in range(4)]
    monkeypatch.setattr(dataset, 'read_episodes', lambda path, task: iter(demos))
    monkeypatch.setattr(virtual, 'read_episodes', lambda path, task: iter(sessions))

    def make(*options: str, out: str = 'out') -> argparse.Namespace:
        return post_train.arguments(
            [
                *('--base', str(base), '--demos', 'demos', '--sessions', 's'),
                *('--out', str(tmp_path / out), '--device', 'cpu', '--steps', '2', *options),
            ]
        )

    return make


@pytest.mark.parametrize('base', ['diffusion', 'flow'], indirect=True)
def test_it_learns_from_no_more_than_the_share(pusht: Task, given: Arguments) -> None:
    arguments = given()
    card = post_train.post_train(arguments)
    facts = card['post_training']
    # Four of five demonstrations are learned from; 48 * 0.35 / 0.65 steps leave room for 25.
    assert (facts['demo_steps'], facts['virtual_steps']) == (48, 25)
    assert facts['virtual_share'] == pytest.approx(25 / 73, abs=1e-4)
    assert facts['sampled_share'] == pytest.approx(25 / 73, abs=1e-4)
    assert (facts['branches'], facts['operator_seconds']) == (3, 2.5)
    assert set(facts['start_seeds']) <= {10, 11, 12, 13}
    stored = load_card(arguments.out)
    assert (stored['variant'], stored['data']) == ('hi_wm', {'demo_episodes': 5})
    assert (arguments.out / 'chunks.png').stat().st_size > 1000
    policy = load_policy(stored['backbone'], pusht, arguments.out)
    seen = Observation(np.zeros(pusht.frame_shape, np.uint8), np.full(2, 0.2))
    assert np.isfinite(policy.chunk([seen], 0)).all()


def test_the_encoder_and_the_scales_stay(pusht: Task, given: Arguments) -> None:
    arguments = given()
    post_train.post_train(arguments)
    before, _ = post_train.load_model(arguments.base, pusht)
    after, _ = post_train.load_model(arguments.out, pusht)
    changed = {
        name.split('.')[0]
        for name, value in after.state_dict().items()
        if not torch.equal(value, before.state_dict()[name])
    }
    assert changed == {'denoiser'}


def test_the_baseline_without_a_person_takes_as_many_steps(given: Arguments) -> None:
    card = post_train.post_train(given('--wm-cl', '--virtual-steps', '12'))
    facts = card['post_training']
    assert card['variant'] == 'wm_cl'
    assert (facts['virtual_steps'], facts['operator_seconds'], facts['branches']) == (12, 0.0, 0)
    assert set(facts['start_seeds']) <= {20, 21, 22, 23}


def test_a_second_round_remembers_the_starts_of_the_first(given: Arguments) -> None:
    first = given('--wm-cl', out='first')
    seen = post_train.post_train(first)['post_training']['start_seeds']
    second = given(out='second')
    second.base = first.out
    card = post_train.post_train(second)
    assert set(seen) < set(card['post_training']['start_seeds'])
    assert set(card['post_training']['start_seeds']) - set(seen) <= {10, 11, 12, 13}


def test_the_recipe_decides_how_often_corrections_are_drawn(given: Arguments) -> None:
    card = post_train.post_train(given('--weighting', 'iwr'))
    facts = card['post_training']
    assert facts['sampled_share'] >= 0.5
    assert facts['virtual_share'] <= 0.35


def test_it_can_be_repeated_and_goes_on(given: Arguments) -> None:
    first = given(out='first')
    post_train.post_train(first)
    weights = (first.out / WEIGHTS).read_bytes()
    second = given(out='second')
    post_train.post_train(second)
    assert (second.out / WEIGHTS).read_bytes() == weights
    post_train.post_train(first)
    assert (first.out / WEIGHTS).read_bytes() == weights, 'what is done is not done again'


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (('--virtual-share', '1.5'), '--virtual-share lies between 0 and 1, not 1.5'),
        (('--virtual-share', '0.01'), 'no room for a virtual step; raise --virtual-share'),
        (('--steps', '0'), '--steps is 1 or more'),
        (('--base', 'nowhere'), 'nowhere holds no policy'),
        (('--demo-count', '50'), '6 successful episodes, not the 50 asked for'),
    ],
)
def test_a_users_mistake_is_one_sentence(
    given: Arguments,
    options: tuple[str, ...],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = given(*options)
    monkeypatch.setattr(post_train, 'arguments', lambda: arguments)
    assert post_train.main() == 1
    refusal = capsys.readouterr().err.strip().splitlines()[-1]
    assert refusal.startswith('post_train: ')
    assert sentence in refusal


def test_the_base_is_not_overwritten(given: Arguments) -> None:
    arguments = given()
    arguments.out = arguments.base
    with pytest.raises(ConfigurationError, match='--out is the base'):
        post_train.post_train(arguments)


def test_the_command_writes_what_it_says(
    given: Arguments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = given('--json', str(tmp_path / 'card.json'))
    monkeypatch.setattr(post_train, 'arguments', lambda: arguments)
    assert post_train.main() == 0
    written = json.loads((tmp_path / 'card.json').read_text())
    assert written['post_training']['virtual_steps'] == 25
