# SPDX-License-Identifier: Apache-2.0
"""Weights and card: written and read again, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest

from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_policy
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy.model import CARD, WEIGHTS, PolicyNetwork, load_model, save_model
from hiwm_policy.policy import NetworkPolicy
from hiwm_policy.size import DiffusionSize

Build = Callable[..., PolicyNetwork]


def looked(task: Task, seed: int = 0) -> Observation:
    draw = np.random.default_rng(seed)
    frame = draw.integers(0, 256, task.frame_shape, np.uint8)
    return Observation(frame, task.joints_of_scene(task.start_scene(seed)))


@pytest.fixture
def saved(pusht: Task, small_network: Build, tmp_path: Path) -> Path:
    save_model(small_network(pusht, framed=True), tmp_path / 'policy', {'seed': 3})
    return tmp_path / 'policy'


def test_a_bundle_gives_the_same_chunks_again(
    pusht: Task, small_network: Build, saved: Path
) -> None:
    history = [looked(pusht, 0), looked(pusht, 1)]
    before = NetworkPolicy(pusht, small_network(pusht, framed=True)).chunk(history, 5)
    after = load_policy('diffusion', pusht, saved)
    np.testing.assert_array_equal(after.chunk(history, 5), before)
    _, card = load_model(saved, pusht)
    assert (card['kind'], card['task'], card['seed']) == ('policy', 'pusht', 3)
    assert not list(saved.glob('.*')), 'nothing unfinished is left'


def test_a_chunk_is_a_function_of_history_and_key(pusht: Task, saved: Path) -> None:
    policy = load_policy('diffusion', pusht, saved)
    history = [looked(pusht, 0), looked(pusht, 1)]
    first = policy.chunk(history, 2**63 + 1)
    policy.chunk([looked(pusht, 2)], 1)
    np.testing.assert_array_equal(policy.chunk(history, 2**63 + 1), first)
    assert not np.array_equal(policy.chunk(history, 1), first)
    assert first.shape == (DiffusionSize().horizon, 2)
    assert (first >= pusht.action_low).all()
    assert (first <= pusht.action_high).all()


def test_a_short_history_is_completed_with_its_oldest(pusht: Task, saved: Path) -> None:
    policy = load_policy('diffusion', pusht, saved)
    one = looked(pusht)
    np.testing.assert_array_equal(policy.chunk([one], 1), policy.chunk([one, one], 1))


def refusal(folder: Path | None, task: Task) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_policy('diffusion', task, folder)
    assert '\n' not in caught.value.message
    return caught.value.message


def test_missing_weights_are_refused(pusht: Task, saved: Path, tmp_path: Path) -> None:
    assert 'needs trained weights' in refusal(None, pusht)
    assert f'{CARD} is missing' in refusal(tmp_path / 'nothing', pusht)
    (saved / WEIGHTS).unlink()
    assert 'cannot be read' in refusal(saved, pusht)


def test_damaged_files_are_refused(pusht: Task, saved: Path) -> None:
    data = bytearray((saved / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (saved / WEIGHTS).write_bytes(data)
    assert 'is damaged' in refusal(saved, pusht)
    (saved / CARD).write_text('{')
    assert 'is damaged' in refusal(saved, pusht)
    (saved / CARD).write_text('{"kind": "world_model"}')
    assert 'is not the card of a policy' in refusal(saved, pusht)


def test_another_task_image_or_backbone_is_refused(
    pusht: Task, two_arms: Task, saved: Path
) -> None:
    assert "trained for task 'pusht', not 'two_arms'" in refusal(saved, two_arms)
    wide = replace(pusht, camera=replace(pusht.camera, width=128))
    assert "images of 96x96; task 'pusht' has 128x96" in refusal(saved, wide)
    renamed = replace(pusht, joints=tuple(replace(joint, name='q') for joint in pusht.joints))
    assert 'the joints x, y' in refusal(saved, renamed)
    card = json.loads((saved / CARD).read_text())
    (saved / CARD).write_text(json.dumps({**card, 'backbone': 'act'}))
    assert "the backbone 'act'; built in are diffusion and flow" in refusal(saved, pusht)


def test_a_card_of_another_size_is_refused(pusht: Task, saved: Path) -> None:
    card = json.loads((saved / CARD).read_text())
    for wrong in ({**card['size'], 'width': 64}, {'context': 2, 'nonsense': 1}):
        (saved / CARD).write_text(json.dumps({**card, 'size': wrong}))
        assert 'does not fit its card' in refusal(saved, pusht)


def test_a_wrong_frame_is_named(pusht: Task, saved: Path) -> None:
    policy = load_policy('diffusion', pusht, saved)
    small = Observation(np.zeros((48, 64, 3), np.uint8), np.zeros(2))
    with pytest.raises(Exception, match='the camera gives 64x48 pixels') as caught:
        policy.chunk([small], 0)
    assert 'needs 96x96' in str(caught.value)


def test_a_task_without_a_body_cannot_be_acted_in_its_frame(two_arms: Task) -> None:
    with pytest.raises(ConfigurationError, match='no body in whose frame'):
        PolicyNetwork(two_arms, DiffusionSize(framed=True))
