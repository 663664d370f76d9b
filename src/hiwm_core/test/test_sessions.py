# SPDX-License-Identifier: Apache-2.0
"""`sessions --list`: every session in a row, and what cannot be read by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_session import HUMAN_SECONDS, WrittenSession

from hiwm_core.action import Source
from hiwm_core.bag_recovery import recover_bag
from hiwm_core.contract import RECORDED_TOPICS
from hiwm_core.live_mark import LiveMark
from hiwm_core.rollout_tree import Label
from hiwm_core.session_bag import SessionBag
from hiwm_core.sessions import list_sessions, main
from hiwm_core.task import Task, load_task


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def folder(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of two bags, one that was recovered, a damaged one, and one of another task."""
    folder = tmp_path_factory.mktemp('sessions')
    first = WrittenSession(folder / 'monday', task, session='monday')
    first.reset(1)
    for source in [Source.POLICY] * 6 + [Source.HANDOVER] + [Source.OPERATOR] * 3:
        first.step(source)
    first.rollback(3)
    first.fork('better')
    for _ in range(4):
        first.step(Source.OPERATOR)
    first.label(Label.SUCCESS, 'straight')
    first.go_on()
    first.step(Source.HOLD)
    first.bag.close()

    second = WrittenSession(folder / 'tuesday', task, session='tuesday')
    second.reset(2)
    for _ in range(4):
        second.step(Source.POLICY)
    second.bag.close()
    (second.path / 'metadata.yaml').unlink()
    recover_bag(second.path)

    third = WrittenSession(folder / 'wednesday', task, session='wednesday')
    third.reset(2)
    third.bag.close()
    for file in third.path.glob('*.mcap'):
        file.write_bytes(file.read_bytes()[:100])

    rope = {'task': 'rope', 'session': 'thursday'}
    (folder / 'thursday').mkdir()
    SessionBag(folder / 'thursday' / 'bag', RECORDED_TOPICS, rope).close()
    return folder


def test_every_session_is_a_row(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'list.json'
    assert list_sessions([folder], path) == 0
    shown = capsys.readouterr().out
    rows = {
        Path(row['path']).relative_to(folder).parts[0]: row
        for row in json.loads(path.read_text())['sessions']
    }
    assert list(rows) == ['monday', 'thursday', 'tuesday', 'wednesday']
    monday = rows['monday']
    assert (monday['state'], monday['session'], monday['task']) == ('whole', 'monday', 'pusht')
    assert monday['rig'] == 'written'
    assert monday['steps'] == {'policy': 6, 'operator': 7, 'handover': 1, 'hold': 1}
    assert monday['branches'] == 1
    assert monday['takeovers'] == 7, 'the written session is paused after every step'
    assert monday['labels'] == {'success': 1, 'failure': 0, 'discard': 0}
    assert monday['human_seconds'] == pytest.approx(8 * HUMAN_SECONDS)
    assert 1.0 < monday['seconds'] < 10.0
    assert rows['tuesday']['state'] == 'recovered'
    for name in ('wednesday', 'thursday'):
        assert rows[name]['state'] == 'skipped'
        assert str(folder / name) in rows[name]['message']
        assert rows[name]['message'] in shown
    assert "there is no task 'rope'" in rows['thursday']['message']
    assert '1 success' in shown
    assert '2 sessions' in shown


def test_a_session_that_is_being_recorded_is_left_alone(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = WrittenSession(tmp_path, task)
    mark = LiveMark(session.path)
    assert list_sessions([tmp_path]) == 1
    mark.release()
    assert 'is being recorded' in capsys.readouterr().out
    session.bag.close()


def test_a_folder_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, sentence in (
        (tmp_path / 'no', 'there is no folder'),
        (tmp_path, 'there is no bag in'),
    ):
        monkeypatch.setattr('sys.argv', ['sessions', '--list', str(path)])
        assert main() == 1
        assert sentence in capsys.readouterr().err
