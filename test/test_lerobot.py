# SPDX-License-Identifier: Apache-2.0
"""Sessions as a LeRobot data set, back as demonstrations, and through LeRobot's own trainer."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from hiwm_core import export_lerobot, lerobot_environment
from hiwm_core.action import Source
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.lerobot_environment import VARIABLE, lerobot_command, lerobot_python
from hiwm_core.rollout_tree import Label
from hiwm_core.task import Task, load_task
from hiwm_core.weighting import class_counts, weights
from hiwm_robot import import_lerobot

sys.path.insert(0, str(Path(__file__).parents[1] / 'src' / 'hiwm_core' / 'test'))

from written_session import WrittenSession


def installed() -> bool:
    try:
        lerobot_python()
    except ConfigurationError:
        return False
    return True


needs_lerobot = pytest.mark.skipif(
    not installed(), reason='LeRobot is not installed (`make lerobot` installs it)'
)

# Prints a data set's columns as one JSON line, read by LeRobot itself.
READ = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset('hiwm/test', root=sys.argv[1])
columns = {name: [dataset[row][name].tolist() for row in range(len(dataset))]
           for name in ('action', 'observation.state', 'intervention', 'source', 'phase',
                        'success', 'weight', 'episode_index', 'frame_index')}
shape = list(dataset[0]['observation.images.camera'].shape)
print(json.dumps({**columns, 'fps': dataset.fps, 'shape': shape,
                  'version': dataset.meta.info['codebase_version']}))
"""


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def sessions(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An attempt that failed, and a branch that a person drove to a success."""
    folder = tmp_path_factory.mktemp('sessions')
    session = WrittenSession(folder, task)
    session.reset(1)
    for _ in range(9):
        session.step(Source.POLICY)
    session.label(Label.FAILURE, '')
    session.rollback(4)
    session.fork('better')
    session.step(Source.HANDOVER)
    for _ in range(6):
        session.step(Source.OPERATOR)
    session.label(Label.SUCCESS, '')
    session.bag.close()
    return folder


@pytest.fixture(scope='module')
def episodes(sessions: Path, task: Task) -> list[Episode]:
    return list(read_episodes(sessions, task))


@pytest.fixture(scope='module')
def exported(sessions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set that the command writes."""
    out = tmp_path_factory.mktemp('lerobot') / 'dataset'
    arguments = ['--sessions', str(sessions), '--out', str(out), '--weighting', 'iwr']
    command, environment = lerobot_command('hiwm_core.export_lerobot', arguments)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'episodes' in done.stdout
    return out


def in_lerobot(*command: str) -> subprocess.CompletedProcess[str]:
    """A Python of LeRobot's environment, with one thread."""
    _, environment = lerobot_command('unused', [])
    environment |= {'OMP_NUM_THREADS': '1', 'HF_HUB_OFFLINE': '1'}
    return subprocess.run(
        [str(lerobot_python()), *command],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_lerobot
@pytest.mark.timeout(600)
def test_lerobot_reads_whole_attempts_with_who_drove(
    exported: Path, episodes: list[Episode]
) -> None:
    done = in_lerobot('-c', READ, str(exported))
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert (read['version'], read['fps'], read['shape']) == ('v3.0', 10, [3, 96, 96])
    by_branch = {episode.branch: episode for episode in episodes}
    origins = json.loads((exported / 'meta' / 'hiwm.json').read_text())['episodes']
    assert {origin['branch'] for origin in origins} == {'run-1', 'better'}
    counts = class_counts([by_branch['run-1']])
    rows = 0
    for number, origin in enumerate(origins):
        episode = by_branch[origin['branch']]
        place = slice(rows, rows + episode.steps)
        rows += episode.steps
        assert set(read['episode_index'][place]) == {number}
        assert read['frame_index'][place] == list(range(episode.steps))
        np.testing.assert_array_equal(read['action'][place], episode.actions.astype(np.float32))
        state = read['observation.state'][place]
        np.testing.assert_array_equal(state, episode.joints[:-1].astype(np.float32))
        human = episode.sources == Source.OPERATOR
        np.testing.assert_array_equal(np.ravel(read['intervention'][place]), human)
        np.testing.assert_array_equal(np.ravel(read['source'][place]), episode.sources)
        np.testing.assert_array_equal(np.ravel(read['phase'][place]), episode.phases)
        assert set(np.ravel(read['success'][place])) == {episode.success}
    assert rows == len(read['action'])
    weight, source = np.ravel(read['weight']), np.ravel(read['source'])
    assert (weight[source == Source.HANDOVER] == 0).all()
    # A shared beginning counts once, and an intervention as much as all else together.
    assert (weight > 0).sum() == 9 + 6
    assert weight[source == Source.OPERATOR].sum() == pytest.approx(weight.sum() / 2, rel=1e-6)
    assert counts.sum() == 9
    assert weights(by_branch['run-1'], 'uniform', counts).tolist() == [1.0] * 9


@needs_lerobot
@pytest.mark.timeout(600)
def test_a_data_set_comes_back_as_demonstrations(
    exported: Path, episodes: list[Episode], task: Task, tmp_path: Path
) -> None:
    assert import_lerobot.main(['--dataset', str(exported), '--out', str(tmp_path)]) == 0
    origins = json.loads((exported / 'meta' / 'hiwm.json').read_text())['episodes']
    by_branch = {episode.branch: episode for episode in episodes}
    back = list(read_episodes(tmp_path, task))
    assert len(back) == len(origins) == 2
    for demo, origin in zip(back, origins, strict=True):
        before = by_branch[origin['branch']]
        assert (demo.kind, demo.success, demo.steps) == ('demo', before.success, before.steps - 1)
        np.testing.assert_array_equal(demo.frames, before.frames[:-1])
        np.testing.assert_array_equal(demo.joints, before.joints[:-1].astype(np.float32))
        np.testing.assert_array_equal(demo.actions, before.actions[:-1].astype(np.float32))
        np.testing.assert_array_equal(demo.scene, before.scene[:-1].astype(np.float32))
        np.testing.assert_array_equal(demo.sources, before.sources[:-1])


@needs_lerobot
@pytest.mark.timeout(600)
def test_lerobots_trainer_makes_three_steps(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / 'training'
    done = in_lerobot(
        '-m',
        'lerobot.scripts.lerobot_train',
        '--dataset.repo_id=hiwm/test',
        f'--dataset.root={exported}',
        '--policy.type=diffusion',
        '--policy.device=cpu',
        '--policy.push_to_hub=false',
        '--policy.down_dims=[16,32]',
        '--policy.pretrained_backbone_weights=null',
        '--steps=3',
        '--batch_size=2',
        '--num_workers=0',
        '--log_freq=1',
        '--save_checkpoint=false',
        '--wandb.enable=false',
        f'--output_dir={out}',
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert 'step:3' in said
    losses = [float(part.partition(' ')[0]) for part in said.split('loss:')[1:]]
    assert len(losses) == 3
    assert np.isfinite(losses).all()


@needs_lerobot
@pytest.mark.timeout(600)
def test_what_is_no_data_set_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    assert import_lerobot.main(['--dataset', str(tmp_path / 'no'), '--out', str(out)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f'{tmp_path / "no"} is not a LeRobot data set' in said
    assert list(out.iterdir()) == []


def test_without_lerobot_the_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(HiwmError, match=f'names {tmp_path}, which has no bin/python'):
        lerobot_python()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(lerobot_environment, 'NAME', 'nowhere')
    with pytest.raises(HiwmError, match='`make lerobot` installs it'):
        lerobot_python()
    monkeypatch.setattr(
        'sys.argv', ['export_lerobot', '--sessions', str(tmp_path), '--out', str(tmp_path / 'o')]
    )
    assert export_lerobot.main() == 1
    assert 'make lerobot' in capsys.readouterr().err


def test_the_workspaces_packages_stay_out_of_lerobots_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv('PYTHONPATH', '/somewhere/else')
    monkeypatch.setenv('LD_LIBRARY_PATH', '/somewhere/else')
    command, environment = lerobot_command('hiwm_core.lerobot_dump', ['--out', 'x'])
    assert command == [str(python), '-m', 'hiwm_core.lerobot_dump', '--out', 'x']
    assert environment['PYTHONPATH'].split(os.pathsep) == [
        str(Path(export_lerobot.__file__).resolve().parents[1])
    ]
    assert 'LD_LIBRARY_PATH' not in environment


def test_an_export_overwrites_nothing_and_names_what_is_missing(
    sessions: Path, task: Task, tmp_path: Path
) -> None:
    wanted = export_lerobot.Wanted()
    with pytest.raises(ConfigurationError, match='exists already'):
        export_lerobot.export([sessions], tmp_path, task, wanted)
    nothing = export_lerobot.Wanted(sources=frozenset({Source.HOLD}))
    with pytest.raises(ConfigurationError, match='were chosen by another source') as refusal:
        export_lerobot.export([sessions], tmp_path / 'new', task, nothing)
    assert str(sessions) in refusal.value.message
    assert list(tmp_path.iterdir()) == []
