# SPDX-License-Identifier: Apache-2.0
"""A session written as the graph writes it is rebuilt from its bag exactly."""

from __future__ import annotations

from collections.abc import Callable
import logging
from pathlib import Path
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from written_session import HUMAN_SECONDS, PERIOD, WrittenSession

from hiwm_core.action import Source
from hiwm_core.contract import IMAGE, RECORDED_TOPICS, RIG_EXECUTED, RIG_STATE, Topic
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rollout_tree import Label
from hiwm_core.session_bag import SessionBag
from hiwm_core.session_log import frames_digest, read_session
from hiwm_core.session_table import WHOLE, session_rows
from hiwm_core.task import Task, load_task

ZSTD_MAGIC = bytes.fromhex('28b52ffd')


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def session(tmp_path_factory: pytest.TempPathFactory, task: Task) -> WrittenSession:
    """Two starts; the first with a rollback, a named branch, and a branch that the rig named."""
    written = WrittenSession(tmp_path_factory.mktemp('session'), task)
    written.reset(7)
    for _ in range(30):
        written.step(Source.POLICY)
    written.checkpoint('before the takeover')
    written.step(Source.HANDOVER)
    for _ in range(29):
        written.step(Source.OPERATOR)
    written.label(Label.FAILURE, 'the block slipped')
    written.rollback(20)
    written.fork('better')
    for _ in range(20):
        written.step(Source.OPERATOR)
    written.step(Source.HOLD)
    written.label(Label.SUCCESS, '')
    written.rollback(5)
    for _ in range(3):
        written.step(Source.POLICY)
    written.fork('never driven')
    written.reset(8)
    for _ in range(6):
        written.step(Source.POLICY)
    written.bag.close()
    return written


@pytest.fixture(scope='module')
def episodes(session: WrittenSession, task: Task) -> dict[str, Episode]:
    return {episode.branch: episode for episode in read_episodes(session.path, task)}


def test_the_tree_is_the_rigs_own(session: WrittenSession, task: Task) -> None:
    assert len(list(session.path.glob('*.mcap'))) > 2
    log = read_session(session.path, task)
    nodes = session.tree.nodes
    assert log.tree.parents() == {node.id: node.parent for node in nodes.values()}
    assert {node.id: (node.step, node.branch) for node in log.tree.nodes.values()} == {
        node.id: (node.step, node.branch) for node in nodes.values()
    }
    assert {
        branch.name: (branch.root, branch.fork, branch.head, branch.label, branch.note)
        for branch in log.tree.branches.values()
    } == {
        branch.name: (branch.root, branch.fork, branch.head, int(branch.label), branch.note)
        for branch in session.tree.branches.values()
    }
    assert log.tree.checkpoints == session.tree.checkpoints
    assert [log.tree.seeds[node.id] for node in nodes.values() if not node.parent] == [7, 8]
    assert log.digest() == frames_digest(
        (node, session.tree.observation(node).frame) for node in nodes
    )


def test_every_path_is_an_episode(session: WrittenSession, episodes: dict[str, Episode]) -> None:
    assert set(episodes) == {'run-1', 'better', 'branch-1', 'run-2'}
    for name, episode in episodes.items():
        path = [node.id for node in session.tree.ancestors(session.tree.branches[name].head)]
        assert episode.nodes.tolist() == path[::-1]
        assert (episode.task, episode.session, episode.kind) == ('pusht', 'synthetic', 'session')
    assert [episodes[name].seed for name in ('run-1', 'better', 'branch-1', 'run-2')] == [
        7,
        7,
        7,
        8,
    ]


def test_every_value_is_bit_identical(
    session: WrittenSession, episodes: dict[str, Episode]
) -> None:
    for episode in episodes.values():
        seen = [session.tree.observation(int(node)) for node in episode.nodes]
        nodes = [session.tree.node(int(node)) for node in episode.nodes[1:]]
        np.testing.assert_array_equal(episode.frames, [one.frame for one in seen])
        np.testing.assert_array_equal(episode.joints, [one.joints for one in seen])
        np.testing.assert_array_equal(episode.scene, [one.scene for one in seen])
        np.testing.assert_array_equal(episode.progress, [one.progress for one in seen])
        np.testing.assert_array_equal(episode.fidelity, [one.fidelity for one in seen])
        spread = [session.spread[node.id] for node in nodes]
        np.testing.assert_array_equal(episode.spread, spread)
        assert episode.epochs[1:].tolist() == [node.epoch for node in nodes]
        assert (np.diff(episode.stamps) > 0).all()
        np.testing.assert_array_equal(
            episode.actions, [session.tree.action(node.id) for node in nodes]
        )
        assert episode.sources.tolist() == [int(node.source) for node in nodes]
        np.testing.assert_array_equal(episode.shadow, [session.shadow[node.id] for node in nodes])
        assert episode.phases.tolist() == [session.phases[node.id] for node in nodes]
        assert episode.frames.dtype == episode.sources.dtype == episode.phases.dtype == np.uint8
        assert episode.nodes.dtype == np.uint64


def test_a_branch_knows_where_it_left(
    session: WrittenSession, episodes: dict[str, Episode]
) -> None:
    run, better, last = (episodes[name] for name in ('run-1', 'better', 'branch-1'))
    assert not run.is_branch
    assert (run.parent, run.fork, run.steps) == ('', 0, 60)
    assert (better.parent, better.fork) == ('run-1', 40)
    assert (last.parent, last.fork) == ('better', 56)
    for branch in (better, last):
        before = episodes[branch.parent]
        assert branch.is_branch
        assert branch.nodes[: branch.fork + 1].tolist() == before.nodes[: branch.fork + 1].tolist()
        assert branch.nodes[branch.fork + 1] != before.nodes[branch.fork + 1]


def test_operator_time_adds_up_over_the_steps(
    session: WrittenSession, episodes: dict[str, Episode]
) -> None:
    """Each step has its own share, whatever branches hold it."""
    seconds: dict[int, float] = {}
    for episode in episodes.values():
        for node, share in zip(episode.nodes[1:].tolist(), episode.human_seconds, strict=True):
            assert seconds.setdefault(node, share) == share
    assert sum(seconds.values()) == pytest.approx(session.human_time)
    assert sum(share > 0 for share in seconds.values()) == 50


def test_labels_decide_success(episodes: dict[str, Episode]) -> None:
    assert (episodes['run-1'].label, episodes['run-1'].success) == (2, False)
    assert (episodes['better'].label, episodes['better'].success) == (1, True)
    assert (episodes['run-2'].label, episodes['run-2'].success) == (0, False)


def short_session(folder: Path, task: Task, **custom_data: str) -> WrittenSession:
    written = WrittenSession(folder, task, **custom_data)
    written.reset(1)
    for _ in range(5):
        written.step(Source.POLICY)
    return written


def test_the_recorders_word_on_success_counts_without_a_label(tmp_path: Path, task: Task) -> None:
    written = short_session(tmp_path, task, kind='demo', success='true')
    written.bag.close()
    (episode,) = read_episodes(tmp_path, task)
    assert (episode.kind, episode.label, episode.success) == ('demo', 0, True)


def test_a_lost_image_cuts_the_path_and_says_so(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = short_session(tmp_path, task)
    write: Callable[[Topic, Any], None] = written.write
    monkeypatch.setattr(
        written, 'write', lambda topic, message: write(topic, message) if topic != IMAGE else None
    )
    lost = written.step(Source.POLICY).id
    monkeypatch.setattr(written, 'write', write)
    for _ in range(4):
        written.step(Source.POLICY)
    written.bag.close()
    (episode,) = read_episodes(written.path, task)
    assert episode.nodes.tolist() == [lost + 1, lost + 2, lost + 3, lost + 4]
    assert len(episode.actions) == 3
    assert 'run-1' in caplog.text


def damage_end(bag: Path) -> None:
    (file,) = bag.glob('*.mcap')
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage_chunk(bag: Path) -> None:
    """The compressed data of a chunk no longer begins with zstd's magic number."""
    (file,) = bag.glob('*.mcap')
    data = file.read_bytes()
    assert ZSTD_MAGIC in data
    file.write_bytes(data.replace(ZSTD_MAGIC, bytes(4), 1))


def damage_metadata(bag: Path) -> None:
    (bag / 'metadata.yaml').write_text('rosbag2_bagfile_information: [')


def lose_metadata(bag: Path) -> None:
    (bag / 'metadata.yaml').unlink()


@pytest.mark.parametrize('damage', [damage_end, damage_chunk, damage_metadata, lose_metadata])
def test_a_damaged_bag_is_named_and_skipped(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    for name in ('a', 'b', 'c'):
        short_session(tmp_path / name, task).bag.close()
    damage(tmp_path / 'b' / 'bag')
    with pytest.raises(HiwmError) as refusal:
        list(read_episodes(tmp_path / 'b' / 'bag', task))
    assert str(tmp_path / 'b' / 'bag') in refusal.value.message
    assert refusal.value.code is ErrorCode.STORAGE_FAULT
    with caplog.at_level(logging.WARNING):
        assert len(list(read_episodes(tmp_path, task))) == 2
    assert str(tmp_path / 'b' / 'bag') in caplog.text


def test_what_a_shell_names_beside_the_sessions_is_skipped(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    short_session(tmp_path / 'a', task).bag.close()
    starts, began = tmp_path / 'hard_starts.pusht.yaml', tmp_path / 'began'
    starts.write_text('starts: []\n')
    began.mkdir()
    with caplog.at_level(logging.WARNING):
        assert len(list(read_episodes(sorted(tmp_path.iterdir()), task))) == 1
    assert f'{starts} is not a folder; it is skipped' in caplog.text
    assert f'there is no bag in {began}; it is skipped' in caplog.text
    with pytest.raises(HiwmError, match='there is no folder'):
        list(read_episodes([tmp_path / 'a', tmp_path / 'typo'], task))
    with pytest.raises(HiwmError, match=r'hard_starts\.pusht\.yaml is not a folder'):
        list(read_episodes([starts, began], task))


def test_what_is_no_bag_of_the_task_is_refused(tmp_path: Path, task: Task) -> None:
    with pytest.raises(HiwmError, match='there is no folder'):
        list(read_episodes(tmp_path / 'nowhere', task))
    with pytest.raises(HiwmError, match='there is no bag in'):
        list(read_episodes(tmp_path, task))
    SessionBag(tmp_path / 'rope', RECORDED_TOPICS, {'task': 'rope'}).close()
    with pytest.raises(HiwmError, match="is of task 'rope', not 'pusht'"):
        list(read_episodes(tmp_path / 'rope', task))
    empty = WrittenSession(tmp_path / 'empty', task)
    empty.bag.close()
    with pytest.raises(HiwmError, match='holds no message of /rig/state'):
        list(read_episodes(empty.path, task))


def test_the_bag_refuses_what_it_cannot_write(tmp_path: Path, task: Task) -> None:
    written = short_session(tmp_path, task)
    with pytest.raises(HiwmError, match='exists already'):
        SessionBag(written.path, RECORDED_TOPICS, {})
    messages = written.bag.messages
    with pytest.raises(HiwmError) as refusal:
        written.bag.write('/unknown', b'', 0)
    assert refusal.value.code is ErrorCode.STORAGE_FAULT
    assert written.bag.messages == messages
    written.bag.close()
    written.bag.close()
    with pytest.raises(HiwmError, match='is closed'):
        written.bag.write(RIG_STATE.name, b'', 0)
    file = tmp_path / 'file'
    file.write_text('')
    with pytest.raises(HiwmError, match='cannot be made'):
        SessionBag(file / 'sub' / 'bag', RECORDED_TOPICS, {})


def test_reading_needs_no_ros(session: WrittenSession) -> None:
    """A process in which every ROS package is blocked reads the same episodes."""
    program = f"""
import sys
for name in ('rclpy', 'rosbag2_py', 'hiwm_msgs', 'sensor_msgs', 'builtin_interfaces', 'torch'):
    sys.modules[name] = None
from pathlib import Path
from hiwm_core.episodes import read_episodes
from hiwm_core.task import load_task
episodes = read_episodes(Path({str(session.path)!r}), load_task('pusht'))
print(sorted(episode.branch for episode in episodes))
"""
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "['better', 'branch-1', 'run-1', 'run-2']"


def test_a_pause_by_trigger_is_kept_with_the_step_before_it(tmp_path: Path, task: Task) -> None:
    written = short_session(tmp_path, task)
    written.trigger(2)
    for _ in range(3):
        written.step(Source.OPERATOR)
    written.bag.close()
    (episode,) = read_episodes(written.path, task)
    assert episode.triggers.tolist() == [0, 0, 0, 0, 2, 0, 0, 0]


def test_a_session_that_went_on_in_another_bag_is_one(tmp_path: Path, task: Task) -> None:
    written = short_session(tmp_path, task)
    for _ in range(2):
        written.step(Source.OPERATOR)
    written.go_on()
    for _ in range(4):
        written.step(Source.OPERATOR)
    written.rollback(7)
    for _ in range(2):
        written.step(Source.POLICY)
    written.bag.close()
    run, branch = read_episodes(tmp_path, task)
    assert (run.steps, branch.steps) == (11, 6)
    assert run.nodes.tolist() == list(range(1, 13))
    frames = [written.tree.observation(int(node)).frame for node in run.nodes]
    np.testing.assert_array_equal(run.frames, frames)
    assert run.human_seconds.sum() == pytest.approx(6 * HUMAN_SECONDS)


def test_bags_of_different_trees_are_read_apart(tmp_path: Path, task: Task) -> None:
    short_session(tmp_path / 'one', task).bag.close()
    # Of the second tree the first nodes have the same ids, parents and steps.
    other = WrittenSession(tmp_path / 'two', task)
    other.now += 1_000_000_000_000
    other.reset(3)
    for _ in range(9):
        other.step(Source.POLICY)
    other.bag.close()
    other.path.rename(tmp_path / 'one' / 'bag-2')
    first, second = read_episodes(tmp_path / 'one', task)
    assert (first.steps, second.steps) == (5, 9)
    assert first.stamps[-1] < second.stamps[0]
    rows = session_rows([tmp_path / 'one' / 'bag', tmp_path / 'one' / 'bag-2'])
    assert [row.steps['policy'] for row in rows] == [5, 9]
    assert {row.state for row in rows} == {WHOLE}


def test_a_start_that_was_refused_costs_its_session_nothing(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    """Its bag has no frame."""
    short_session(tmp_path / 'one', task).bag.close()
    WrittenSession(tmp_path / 'two', task).bag.close()
    (tmp_path / 'two' / 'bag').rename(tmp_path / 'one' / 'bag-2')
    (episode,) = read_episodes(tmp_path / 'one', task)
    assert episode.steps == 5
    assert 'bag-2 holds no message of /rig/state' in caplog.text
    (row,) = session_rows([tmp_path / 'one' / 'bag', tmp_path / 'one' / 'bag-2'])
    assert row.state == WHOLE
    assert row.steps['policy'] == 5
    assert 'bag-2 holds no message of /rig/state' in row.message


def test_a_clock_that_jumps_back_is_named_and_the_path_stays_whole(
    tmp_path: Path, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    written = short_session(tmp_path, task)
    written.now -= 3_000_000_000
    for _ in range(4):
        written.step(Source.POLICY)
    written.bag.close()
    (episode,) = read_episodes(written.path, task)
    assert episode.nodes.tolist() == list(range(1, 11))
    assert 'clock' in caplog.text
    assert str(written.path) in caplog.text


def test_frames_with_one_stamp_are_refused(tmp_path: Path, task: Task) -> None:
    written = short_session(tmp_path, task)
    head = written.tree.nodes[5]
    written.now = 1_700_000_000_000_000_000 - PERIOD
    for _ in range(5):
        written.show(head)
    written.bag.close()
    with pytest.raises(HiwmError, match='a clock jumped back'):
        list(read_episodes(written.path, task))


def test_a_session_without_executed_actions_is_refused(
    tmp_path: Path, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = WrittenSession(tmp_path, task)
    write: Callable[[Topic, Any], None] = written.write
    monkeypatch.setattr(
        written,
        'write',
        lambda topic, message: write(topic, message) if topic != RIG_EXECUTED else None,
    )
    written.reset(1)
    written.step(Source.POLICY)
    written.bag.close()
    with pytest.raises(HiwmError, match=r'holds no action of /rig/executed') as refusal:
        list(read_episodes(written.path, task))
    assert str(written.path) in refusal.value.message


def test_many_folders_are_read_as_one_list(tmp_path: Path, task: Task) -> None:
    for name in ('a', 'b'):
        short_session(tmp_path / name, task).bag.close()
    given = [tmp_path / 'b', tmp_path / 'a', tmp_path]
    assert len(list(read_episodes(given, task))) == 2
