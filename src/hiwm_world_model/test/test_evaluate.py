# SPDX-License-Identifier: Apache-2.0
"""The measuring itself: right about the physics, about broken models, and about bad input."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.backend import Backend, Readings
from hiwm_core.task import Task, load_task
from hiwm_robot.sims import PoseReader, load_pose_reader, load_simulator
from hiwm_world_model import evaluate, following
from hiwm_world_model.bars import BARS, bars_table, judge
from hiwm_world_model.endurance import area_error, measure_endurance
from hiwm_world_model.following import follows, measure_following
from hiwm_world_model.held_out import KINDS, Course, held_out_seed, make_courses
from hiwm_world_model.model import WorldModel
from hiwm_world_model.open_loop import OpenLoop
from hiwm_world_model.weights import save_model

FloatArray = NDArray[np.float64]
PIXEL = 0.512 / 96


class Around:
    """A backend around the physics, to be made worse."""

    name = 'around'

    def __init__(self, task: Task) -> None:
        self.physics = load_simulator(task)

    @property
    def state_size(self) -> int:
        return self.physics.state_size

    def start(self, scene: FloatArray, key: int) -> FloatArray:
        return self.physics.start(scene, key)

    def encode(self, frames: NDArray[np.uint8]) -> FloatArray:
        return self.physics.encode(frames)

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        return self.physics.step(states, actions, keys)

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        return self.physics.decode(states)

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        return self.physics.heads(states, frames)


class Lame(Around):
    """Nothing ever moves."""

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        return states


class Mirrored(Around):
    """The arm goes to the left where it is told to go to the right."""

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        turned = np.array(actions)
        turned[:, 0] = 2.0 * states[:, 0] / 1000.0 - turned[:, 0]
        return self.physics.step(states, np.clip(turned, 0.0, 0.512), keys)


class Displaced(Around):
    """The T is drawn three pixels to the right of where the heads say it is."""

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        moved = states.copy()
        moved[:, 4] += 3.0 * 1000.0 * PIXEL
        return self.physics.decode(moved)


class Doubled(Around):
    """There is a second T in the corner."""

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        other = states.copy()
        other[:, :6] = [-500.0, -500.0, 0.0, 0.0, 440.0, 20.0]
        other[:, 6] = 0.0
        return np.minimum(self.physics.decode(states), self.physics.decode(other))


class Blank(Around):
    """Nobody is in the picture."""

    def decode(self, states: FloatArray) -> NDArray[np.uint8]:
        return np.full((len(states), 96, 96, 3), 255, np.uint8)


@pytest.fixture(scope='module')
def pusht() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def reader(pusht: Task) -> PoseReader:
    return load_pose_reader(pusht)


@pytest.fixture(scope='module')
def physics(pusht: Task) -> Backend:
    return load_simulator(pusht)


@pytest.fixture(scope='module')
def courses(pusht: Task, physics: Backend) -> list[Course]:
    return make_courses(pusht, physics, 'play', seed=0, episodes=2, steps=26, policy=None)


def compared(task: Task, backend: Backend, reader: PoseReader, courses: list[Course]) -> Any:
    """A summary of a backend beside courses."""
    found = OpenLoop(task, backend, reader, 0).compare(courses, keep_frames=0)
    return evaluate.summary([comparison.curves for comparison in found], 8.0)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command's exit code."""
    monkeypatch.setattr(sys, 'argv', ['evaluate', *(str(argument) for argument in arguments)])
    return evaluate.main()


# -- what is measured ----------------------------------------------------------------------------


def test_the_physics_is_perfect(
    pusht: Task, physics: Backend, reader: PoseReader, courses: list[Course]
) -> None:
    figures = compared(pusht, physics, reader, courses)
    for step in ('1', '5', '20'):
        assert figures['agent_px'][step]['p90'] < 0.5
        assert figures['t_px'][step]['p90'] < 0.5
        assert figures['t_deg'][step]['p90'] < 1.5
        assert figures['psnr_db'][step]['p50'] == 60.0
        assert figures['scene_t_px'][step]['p90'] == pytest.approx(0.0, abs=1e-9)
        assert figures['reader_px'][step]['p90'] < 0.5
    assert figures['psnr_copy_first_db']['20']['p50'] < 35.0
    assert figures['psnr_mean_frame_db']['20']['p50'] < 35.0
    assert figures['heads_px']['within'] == figures['heads_deg']['within'] == 1.0
    assert figures['fidelity_auroc'] is None, 'there is nothing wrong to be told'


def test_what_does_not_move_drifts_away(
    pusht: Task, reader: PoseReader, courses: list[Course]
) -> None:
    figures = compared(pusht, Lame(pusht), reader, courses)
    assert figures['agent_px']['20']['p50'] > 3.0
    assert figures['psnr_db']['20'] == figures['psnr_copy_first_db']['20']


def test_heads_that_disagree_with_the_picture(
    pusht: Task, reader: PoseReader, courses: list[Course]
) -> None:
    figures = compared(pusht, Displaced(pusht), reader, courses)
    assert figures['t_px']['20']['p50'] == pytest.approx(3.0, abs=0.4)
    assert figures['scene_t_px']['20']['p50'] == pytest.approx(0.0, abs=1e-9)
    assert figures['heads_px']['p50'] == pytest.approx(3.0, abs=0.4)
    assert figures['heads_px']['within'] < 0.1
    assert figures['heads_deg']['within'] == 1.0


def test_a_body_that_vanished_is_as_wrong_as_can_be(
    pusht: Task, reader: PoseReader, courses: list[Course]
) -> None:
    figures = compared(pusht, Blank(pusht), reader, courses)
    assert figures['agent_px']['20']['p50'] == pytest.approx(96.0 * 2**0.5, abs=0.01)
    assert figures['t_px']['20']['p50'] == pytest.approx(96.0 * 2**0.5, abs=0.01)
    assert figures['t_deg']['20']['p50'] == 180.0


def test_following(
    pusht: Task, physics: Backend, reader: PoseReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, 'PLACES', 3)
    good = measure_following(pusht, physics, physics, reader, 1)
    assert (good.everywhere, good.attempts) == (1.0, 9 * 16)
    lame = measure_following(pusht, Lame(pusht), physics, reader, 1)
    assert lame.inside == 0.0
    # At an edge half of the directions lead nowhere, in a corner more.
    assert 0.1 < lame.at_edges < 0.6
    mirrored = measure_following(pusht, Mirrored(pusht), physics, reader, 1)
    # Straight up and straight down look the same in a mirror.
    assert mirrored.inside == pytest.approx(2.0 / 16.0)


def test_which_motion_follows() -> None:
    right = np.array([6.0, 0.0])
    assert follows(right, np.array([5.0, 0.5]))
    assert not follows(right, np.array([2.0, 0.0])), 'not far enough'
    assert not follows(right, np.array([5.0, 2.0])), 'nearer to the next direction'
    assert not follows(right, -right)
    assert not follows(right, np.array([np.nan, 0.0])), 'it vanished'
    assert follows(np.zeros(2), np.array([0.3, 0.2])), 'told to go through a wall'
    assert not follows(np.zeros(2), right)


def test_endurance(pusht: Task, physics: Backend, reader: PoseReader) -> None:
    def shares(backend: Backend) -> float:
        found = measure_endurance(pusht, backend, physics, reader, seed=2, rollouts=3, steps=12)
        return float(found.whole.mean())

    assert shares(physics) == 1.0
    assert shares(Doubled(pusht)) == 0.0
    assert shares(Blank(pusht)) == 0.0


def test_a_melted_body_has_the_wrong_area(
    pusht: Task, physics: Backend, reader: PoseReader
) -> None:
    frame = physics.decode(physics.start(np.array([0.1, 0.1, 0.3, 0.2, 1.0]), 0))[0]
    assert area_error(pusht, physics, reader, frame) < 0.03
    tee = (frame[..., 2].astype(int) - frame[..., 0] > 20) & (frame[..., 0] > 100)
    rows = np.flatnonzero(tee.any(1))
    melted = frame.copy()
    melted[rows[-8] :][tee[rows[-8] :]] = 255
    assert area_error(pusht, physics, reader, melted) > 0.1


# -- what is reported ----------------------------------------------------------------------------


def test_bars_are_judged() -> None:
    figures = {
        'agent_px': {'20': {'p50': 1.4}, '100': {'p50': 3.2}},
        'psnr_db': {'20': {'p50': 27.5}, '100': {'p50': 22.0}},
        'action_following': 0.995,
        'fidelity_auroc': None,
    }
    verdicts = judge(figures, one_kind=False)
    assert len(verdicts) == len(BARS) == 14
    expected = {
        'agent_px_20': True,
        'agent_px_100': False,
        'psnr_db_20': True,
        'psnr_db_100': False,
        'psnr_db_200': None,
        'action_following': True,
        'fidelity_auroc': None,
    }
    assert {name: verdicts[name]['ok'] for name in expected} == expected
    assert 'action_following' not in judge(figures, one_kind=True)
    lines = bars_table({'all': verdicts}).splitlines()
    assert '3.200!' in next(line for line in lines if line.startswith('agent_px_100'))


def test_held_out_seeds_are_apart() -> None:
    seeds = [
        held_out_seed(seed, kind, number)
        for seed in range(3)
        for kind in (*KINDS, 'following')
        for number in (0, 99_999)
    ]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 2_000_000_000


def test_a_demonstration_goes_on_after_success(pusht: Task, physics: Backend) -> None:
    course = make_courses(pusht, physics, 'demo', seed=0, episodes=1, steps=110, policy=None)[0]
    done = np.flatnonzero(course.progress > pusht.success_above)
    assert len(done)
    assert done[0] < 110 == len(course.actions)


# -- the command ---------------------------------------------------------------------------------


def test_the_tool_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(following, 'PLACES', 2)
    short = ['--episodes', 1, '--steps', 6, '--play-steps', 5, '--seed', 4]
    for name in ('first', 'second'):
        assert run(monkeypatch, *short, '--json', tmp_path / name / 'figures.json') == 0
    text = (tmp_path / 'first' / 'figures.json').read_bytes()
    assert text == (tmp_path / 'second' / 'figures.json').read_bytes()
    figures = json.loads(text)
    kinds = {'demo', 'policy', 'play', 'edge', 'all'}
    assert set(figures['kinds']) == set(figures['bars']) == kinds
    assert figures['drivers']['policy'] not in {'noisy_expert', 'expert'}
    for kind in (figures, *figures['kinds'].values()):
        for measure in ('agent_px', 't_px', 't_deg', 'psnr_db', 'scene_t_px'):
            assert set(kind[measure]) == {'1', '5'}
            assert {'p50', 'p90'} <= set(kind[measure]['5'])
        assert {'p50', 'p90', 'within'} <= set(kind['heads_px'])
        assert kind['agent_px']['5']['p50'] < 1.5
    assert figures['action_following'] > 0.9
    assert figures['stable_5'] == 1.0
    assert figures['bars']['all']['action_following']['ok'] is not None
    assert figures['bars']['all']['stable_600']['ok'] is None, 'nobody played for 600 steps'
    for name in ('drift.png', 'strip.png'):
        assert (tmp_path / 'first' / name).stat().st_size > 5000
    printed = capsys.readouterr().out
    assert 't_px_100' in printed
    assert not list(tmp_path.rglob('.*'))


def test_bad_input_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arms: Task,
    small_model: WorldModel,
) -> None:
    def refused(*arguments: object) -> str:
        assert run(monkeypatch, *arguments) == 1
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        return lines[0]

    assert refused('--task', 'chess').startswith("evaluate: there is no task 'chess'")
    assert refused('--model', tmp_path / 'no').startswith('evaluate: there is no ')
    save_model(tmp_path / 'arms', WorldModel(arms, small_model.architecture), {})
    assert "for task 'two_arms' and not 'pusht'" in refused('--model', tmp_path / 'arms')
    assert "nothing named 'dream'" in refused('--backend', 'dream')
    assert '--episodes' in refused('--episodes', 0)
    assert refused('--data', tmp_path / 'none').startswith('evaluate: there is no folder')
    (tmp_path / 'file').write_text('not a folder')
    assert 'cannot be written' in refused('--json', tmp_path / 'file' / 'figures.json')
    monkeypatch.setattr(evaluate, 'shipped_model', lambda *_: None)
    assert 'name one with --model' in refused()


def test_without_a_shipped_policy_the_expert_is_spoilt(pusht: Task, physics: Backend) -> None:
    course = make_courses(pusht, physics, 'policy', seed=0, episodes=1, steps=2, policy=None)[0]
    assert course.driver == 'noisy_expert'
