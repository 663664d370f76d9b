# SPDX-License-Identifier: Apache-2.0
"""`collect`: what its bags hold, that it goes on after an interrupt, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
import yaml

from hiwm_core import contract
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.episodes import read_episodes
from hiwm_core.task import load_task
from hiwm_robot.collect_node import main
from hiwm_robot.sims import load_simulator

TASK = load_task('pusht')
PROGRAM = [
    *(sys.executable, '-c'),
    'import sys; from hiwm_robot.collect_node import main; sys.exit(main())',
]


def collect(out: Path, kind: str = 'play', episodes: int = 2, seed: int = 5, *more: str) -> int:
    return main(
        [
            *('--task', 'pusht', '--kind', kind, '--episodes', str(episodes)),
            *('--seed', str(seed), '--out', str(out), *more),
        ]
    )


def mcap_hashes(out: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob('*/*.mcap')
    }


def test_bags_are_read_by_the_plain_rosbags_library(tmp_path: Path) -> None:
    assert collect(tmp_path, 'play', 1, 5, '--steps', '12') == 0
    with AnyReader([tmp_path / 'play_00000005']) as reader:
        messages = [
            (connection.topic, time_ns, reader.deserialize(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]
    metadata = yaml.safe_load((tmp_path / 'play_00000005/metadata.yaml').read_text())
    custom = metadata['rosbag2_bagfile_information']['custom_data']
    of = {
        topic.name: [message for name, _, message in messages if name == topic.name]
        for topic in contract.RIG_TOPICS
    }
    assert custom == {
        **{'kind': 'play', 'seed': '5', 'task': 'pusht', 'session': 'play_00000005'},
        **{'success': 'false', 'steps': '12'},
    }
    assert [len(of[topic.name]) for topic in contract.RIG_TOPICS] == [13, 13, 13, 13, 12, 1]
    stamps = {
        name: [(message.header.stamp.sec, message.header.stamp.nanosec) for message in found]
        for name, found in of.items()
    }
    images = stamps[contract.IMAGE.name]
    assert stamps[contract.CAMERA_INFO.name] == images
    assert stamps[contract.JOINT_STATES.name] == images
    assert stamps[contract.RIG_STATE.name] == images
    # An executed action bears the stamp of the frame that it led to.
    assert stamps[contract.RIG_EXECUTED.name] == images[1:]
    times = np.array(images) @ [1_000_000_000, 1]
    assert (np.diff(times) == 100_000_000).all()
    assert [message.observation_step for message in of[contract.RIG_EXECUTED.name]] == list(
        range(12)
    )
    assert [message.node for message in of[contract.RIG_STATE.name]] == list(range(1, 14))
    assert of[contract.RIG_TREE.name][0].seed == 5


def test_episodes_are_what_the_simulator_did(tmp_path: Path) -> None:
    assert collect(tmp_path, 'demo', 2, 40) == 0
    backend = load_simulator(TASK)
    episodes = list(read_episodes(tmp_path, TASK))
    assert [episode.seed for episode in episodes] == [40, 41]
    for episode in episodes:
        assert episode.kind == 'demo'
        assert episode.success == (episode.progress[-1] > TASK.success_above)
        seen = first_observation(backend, TASK.start_scene(episode.seed), key=0)
        for frame, scene, action in zip(
            episode.frames[1:], episode.scene[1:], episode.actions, strict=True
        ):
            seen = next_observation(backend, seen, action, key=0)
            assert np.array_equal(seen.frame, frame)
            assert np.array_equal(seen.scene, scene)
    assert (tmp_path / 'coverage.png').read_bytes().startswith(b'\x89PNG')


def test_the_same_seed_gives_the_same_data_with_any_number_of_workers(tmp_path: Path) -> None:
    steps = ('--steps', '25')
    assert collect(tmp_path / 'one', 'edge', 3, 7, *steps) == 0
    assert collect(tmp_path / 'two', 'edge', 3, 7, *steps, '--workers', '2') == 0
    first, second = (list(read_episodes(tmp_path / name, TASK)) for name in ('one', 'two'))
    assert len(first) == 3
    assert not np.array_equal(first[0].actions, first[1].actions)
    for one, two in zip(first, second, strict=True):
        for name in ('seed', 'frames', 'joints', 'scene', 'progress', 'actions', 'sources'):
            assert np.array_equal(getattr(one, name), getattr(two, name))


def test_counts_go_to_json_and_finished_episodes_are_kept(tmp_path: Path) -> None:
    result = tmp_path / 'result.json'
    more = ('--steps', '20', '--json', str(result))
    assert collect(tmp_path / 'out', 'policy', 1, 0, *more) == 0
    first = mcap_hashes(tmp_path / 'out')
    before = (tmp_path / 'out/policy_00000000/metadata.yaml').stat().st_mtime_ns
    assert collect(tmp_path / 'out', 'policy', 2, 0, *more) == 0
    counts = json.loads(result.read_text())
    assert counts['episodes'] == counts['success'] + counts['failed'] == 2
    assert counts['success_rate'] == counts['success'] / 2
    assert counts['steps'] <= 40
    assert first.items() <= mcap_hashes(tmp_path / 'out').items()
    assert (tmp_path / 'out/policy_00000000/metadata.yaml').stat().st_mtime_ns == before


@pytest.mark.parametrize('workers', ['1', '2'])
def test_an_interrupted_collection_keeps_what_is_finished_and_goes_on(
    tmp_path: Path, workers: str
) -> None:
    arguments = ['--kind', 'play', '--episodes', '60', '--steps', '30', '--out', str(tmp_path)]
    result = tmp_path / 'result' / 'play.json'
    result.parent.mkdir()
    arguments += ['--workers', workers, '--json', str(result)]
    process = subprocess.Popen(
        [*PROGRAM, *arguments], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 100.0
    while len(list(tmp_path.glob('play_*'))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    # A terminal's Ctrl-C goes to the whole group.
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert 'Traceback' not in errors
    assert 'run the same command again' in errors
    kept = {path.name for path in tmp_path.glob('play_*')}
    assert 2 <= len(kept) < 60
    assert not (tmp_path / '.unfinished').exists()
    assert list(result.parent.iterdir()) == [], 'it would say that all is there'
    assert len(list(read_episodes(tmp_path, TASK))) == len(kept)
    hashes = mcap_hashes(tmp_path)
    assert collect(tmp_path, 'play', len(kept) + 1, 0, '--steps', '30') == 0
    assert hashes.items() <= mcap_hashes(tmp_path).items()
    assert len(list(tmp_path.glob('play_*'))) >= len(kept) + 1


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--kind', 'dance', '--episodes', '1', '--out', 'x'], 'dance'),
        (['--kind', 'play', '--episodes', '-3', '--out', 'x'], 'at least 1'),
        (['--kind', 'play', '--episodes', 'many', '--out', 'x'], 'many'),
        (['--kind', 'play', '--episodes', '1', '--seed', '-1', '--out', 'x'], 'at least 0'),
        (['--kind', 'play', '--episodes', '1', '--steps', '0', '--out', 'x'], 'at least 1'),
        (['--kind', 'play', '--episodes', '1', '--workers', '0', '--out', 'x'], 'at least 1'),
        (['--kind', 'play', '--episodes', '1'], '--out'),
        (['--task', 'chess', '--kind', 'play', '--episodes', '1', '--out', 'x'], "'chess'"),
        (['--kind', 'demo', '--episodes', '1', '--out', 'x', '--policy', 'p'], '--policy'),
        (['--kind', 'policy', '--episodes', '1', '--out', 'x', '--policy', 'p'], 'card.json'),
        (['--kind', 'play', '--episodes', '1', '--out', 'file/below'], 'file/below'),
        (['--kind', 'play', '--episodes', '1', '--out', '/proc/nowhere'], '/proc/nowhere'),
    ],
    ids=lambda value: ' '.join(value[-2:]) if isinstance(value, list) else '',
)
def test_bad_input_is_refused_in_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('not a folder')
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith('collect: ')]
    assert code != 0
    assert len(lines) == 1
    assert words in lines[0]
    assert not (tmp_path / 'x').exists()


def test_other_settings_do_not_mix_in_one_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(tmp_path, 'play', 1, 0, '--steps', '5') == 0
    assert collect(tmp_path, 'play', 2, 0, '--steps', '6') == 1
    assert 'steps 5 and not 6' in capsys.readouterr().err
    assert len(list(tmp_path.glob('play_*'))) == 1
