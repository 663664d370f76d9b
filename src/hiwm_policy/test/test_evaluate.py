# SPDX-License-Identifier: Apache-2.0
"""The evaluation: its figures, what it writes, and that it can be repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import json
from pathlib import Path
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image
import pytest

from hiwm_core.backend import Readings
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy import evaluate
from hiwm_policy.model import PolicyNetwork, load_card, save_model

FloatArray = NDArray[np.float64]


class Corridor:
    """A backend whose progress is twice the first joint, which goes where it is told."""

    name = 'corridor'
    state_size = 2

    def __init__(self, task: Task) -> None:
        self._task = task

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        return np.zeros((1, 2))

    def encode(self, frames: NDArray[np.uint8]) -> FloatArray:
        raise HiwmError('a corridor does not read frames', ErrorCode.NOT_SUPPORTED)

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        return np.array(actions)

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        return np.zeros((len(states), *self._task.frame_shape), np.uint8)

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        unknown = np.full(len(states), np.nan)
        return Readings(states, np.empty((len(states), 0)), 2.0 * states[:, 0], unknown, unknown)


class Climber:
    """A policy that moves on by a twentieth a step, three steps at a time."""

    name = 'climber'
    context = 2
    chunk_steps = 3

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        self.lengths.append(len(history))
        first = history[-1].joints[0]
        return np.array([[first + 0.05 * step, 0.0] for step in range(1, 5)])


def test_an_episode_ends_with_success_in_any_frame(pusht: Task) -> None:
    policy = Climber()
    result = evaluate.run_episode(pusht, Corridor(pusht), policy, 1)
    assert (result.success, result.steps) == (True, 10)
    assert result.best_progress == pytest.approx(1.0)
    assert policy.lengths == [1, 2, 2, 2], 'the first chunk knows one observation'


def test_an_episode_ends_with_the_tasks_patience(pusht: Task) -> None:
    short = replace(pusht, episode_steps=4)
    result = evaluate.run_episode(short, Corridor(short), Climber(), 1)
    assert (result.success, result.steps) == (False, 4)


def test_the_command_writes_a_table_and_a_picture(
    pusht: Task,
    small_network: Callable[..., PolicyNetwork],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_model(small_network(pusht, framed=True), tmp_path / 'policy', {})
    monkeypatch.setattr(
        evaluate, 'load_task', lambda name: replace(pusht, name=name, episode_steps=12)
    )
    tables = []
    for run in ('first', 'second'):
        path = tmp_path / run / 'evaluation.json'
        given = ['evaluate', '--policy', str(tmp_path / 'policy'), '--episodes', '2']
        monkeypatch.setattr(sys, 'argv', [*given, '--seed', '40', '--json', str(path), '--card'])
        assert evaluate.main() == 0
        tables.append(json.loads(path.read_text()))
        assert path.with_suffix('.png').stat().st_size > 1000
    first, second = tables
    assert (first['rig'], first['episodes'], first['first_seed']) == ('sim_arm', 2, 40)
    assert [row['seed'] for row in first['table']] == [40, 41]
    assert [row['steps'] for row in first['table']] == [12, 12]
    assert 0.0 <= first['interval_95'][0] <= first['success'] <= first['interval_95'][1] <= 1.0
    assert first['table'] == second['table']
    card = load_card(tmp_path / 'policy')
    assert card['evaluation']['sim_arm']['success'] == first['success']
    assert 'table' not in card['evaluation']['sim_arm']


def test_a_process_of_its_own_gives_the_same(
    pusht: Task,
    small_network: Callable[..., PolicyNetwork],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_model(small_network(pusht, framed=True), tmp_path / 'policy', {})
    monkeypatch.setattr(
        evaluate, 'load_task', lambda name: replace(pusht, name=name, episode_steps=10)
    )
    monkeypatch.setattr(evaluate, '_LOADED', {})
    setting = evaluate.Setting('sim_arm', 'pusht', str(tmp_path / 'policy'), None, batch=2)
    whole = evaluate.evaluate(setting, range(7, 10), 1)
    # What a worker is given: a batch, whichever process it is.
    parts = [*evaluate._work((setting, [7, 8])), *evaluate._work((setting, [9]))]
    for one, other in zip(whole, parts, strict=True):
        assert (one.seed, one.steps, one.best_progress) == (
            other.seed,
            other.steps,
            other.best_progress,
        )
        np.testing.assert_array_equal(one.frame, other.frame)


def test_failures_are_filmed_on_request(
    pusht: Task,
    small_network: Callable[..., PolicyNetwork],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    save_model(small_network(pusht, framed=True), tmp_path / 'policy', {})
    monkeypatch.setattr(
        evaluate, 'load_task', lambda name: replace(pusht, name=name, episode_steps=5)
    )
    monkeypatch.setattr(evaluate, '_LOADED', {})
    given = ['evaluate', '--policy', str(tmp_path / 'policy'), '--episodes', '2', '--seed', '7']
    monkeypatch.setattr(sys, 'argv', [*given, '--videos', str(tmp_path / 'films')])
    assert evaluate.main() == 0
    films = sorted((tmp_path / 'films').iterdir())
    assert [film.name for film in films] == ['7.gif', '8.gif']
    with Image.open(films[0]) as film:
        assert (film.n_frames, film.size) == (6, (96, 96))


def test_a_users_mistake_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, sentence in (
        (['--policy', str(tmp_path)], 'holds no policy'),
        (['--policy', str(tmp_path), '--rig', 'nothing'], "there is nothing named 'nothing'"),
        (['--policy', str(tmp_path), '--task', 'nothing'], "there is no task 'nothing'"),
        (['--policy', str(tmp_path), '--episodes', '0'], '1 or more'),
    ):
        monkeypatch.setattr(sys, 'argv', ['evaluate', *arguments])
        assert evaluate.main() == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert lines[0].startswith('evaluate: ')
        assert sentence in lines[0]
