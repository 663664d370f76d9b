# SPDX-License-Identifier: Apache-2.0
"""A session written as the graph writes it is rebuilt from its bag exactly."""

from __future__ import annotations

from collections.abc import Callable
import logging
from pathlib import Path
import subprocess
import sys
from typing import Any

from builtin_interfaces.msg import Time
from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RigState, TreeEvent
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

from hiwm_core.action import Action, Source
from hiwm_core.contract import (
    ACTION,
    IMAGE,
    JOINT_STATES,
    MUX_STATE,
    POLICY_ACTION,
    RECORDED_TOPICS,
    RIG_EXECUTED,
    RIG_STATE,
    RIG_TREE,
    Topic,
)
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.rig import Rig
from hiwm_core.rollout_tree import Label, Node, RolloutTree
from hiwm_core.session_bag import SessionBag
from hiwm_core.session_log import frames_digest, read_session
from hiwm_core.task import Task, load_task

CONTEXT = 4
PERIOD = 100_000_000
FILE_BYTES = 200_000  # small enough that a session takes several files
ZSTD_MAGIC = bytes.fromhex('28b52ffd')
PHASE_OF = {
    Source.POLICY: MuxState.PHASE_AUTONOMOUS,
    Source.OPERATOR: MuxState.PHASE_CORRECTING,
    Source.HANDOVER: MuxState.PHASE_HANDOVER,
    Source.HOLD: MuxState.PHASE_PAUSED,
}


class WrittenSession:
    """A rig with its tree, whose every step is written to a bag as the nodes of a session would.

    The bag is split into several files. Observations are seeded noise: a bag does not care what
    they show, and noise cannot be mixed up.
    """

    def __init__(self, folder: Path, task: Task, **custom_data: str) -> None:
        self.task = task
        self.tree = RolloutTree(folder / 'tree', seed=3)
        self.rig = Rig(task, self.tree)
        self.random = np.random.default_rng(11)
        self.now = 1_700_000_000_000_000_000
        self.path = folder / 'bag'
        self.shadow: dict[int, np.ndarray] = {}
        self.phases: dict[int, int] = {}
        data = {'kind': 'session', 'task': task.name, 'session': 'synthetic', **custom_data}
        self.bag = SessionBag(self.path, RECORDED_TOPICS, data, max_file_bytes=FILE_BYTES)

    def write(self, topic: Topic, message: Any) -> None:
        self.bag.write(topic.name, serialize_message(message), self.now)
        self.now += 1_000

    def stamp(self) -> Time:
        return Time(sec=self.now // 10**9, nanosec=self.now % 10**9)

    def observe(self) -> Observation:
        task = self.task
        return Observation(
            frame=self.random.integers(0, 256, task.frame_shape, np.uint8),
            joints=self.random.uniform(0, 0.5, len(task.joints)),
            scene=self.random.uniform(0, 0.5, len(task.scene)),
            progress=float(self.random.uniform(0, 0.9)),
        )

    def show(self, node: Node, *, context: bool = False) -> Time:
        """Publish a node, in an order that changes from frame to frame."""
        self.now += PERIOD
        stamp = self.stamp()
        seen = self.tree.observation(node.id)
        state = RigState(
            session='synthetic',
            task=self.task.name,
            epoch=self.tree.epoch,
            node=node.id,
            parent=node.parent,
            branch=self.rig.branch,
            step=node.step,
            context=context,
            mode=int(self.rig.mode),
            progress=seen.progress,
            scene_names=list(self.task.scene_names),
            scene_values=seen.scene.tolist(),
        )
        image = Image(height=seen.frame.shape[0], width=seen.frame.shape[1], encoding='rgb8')
        image.step, image.data = image.width * 3, seen.frame.tobytes()
        # Backwards, to see that joints are matched by name.
        joints = JointState(
            name=list(self.task.joint_names)[::-1], position=seen.joints.tolist()[::-1]
        )
        parts = [(RIG_STATE, state), (IMAGE, image), (JOINT_STATES, joints)]
        for index in self.random.permutation(3):
            topic, message = parts[index]
            message.header.stamp = stamp
            self.write(topic, message)
        if not context:
            # The rig's state is sent again on every change of mode.
            self.write(RIG_STATE, state)
        return stamp

    def show_context(self) -> None:
        for node in self.rig.context_nodes(CONTEXT):
            self.show(node, context=True)

    def event(self, kind: int, **fields: Any) -> None:
        self.write(RIG_TREE, TreeEvent(kind=kind, epoch=self.tree.epoch, **fields))

    def message(self, action: Action) -> ActionMessage:
        message = ActionMessage(
            source=int(action.source),
            names=list(self.task.action_names),
            values=action.values.tolist(),
            epoch=action.epoch,
            observation_step=action.step,
        )
        message.header.stamp = self.stamp()
        return message

    def reset(self, seed: int) -> None:
        node = self.rig.reset(self.observe(), key=seed)
        self.event(TreeEvent.KIND_RESET, node=node.id, branch=node.branch, seed=seed)
        self.show_context()

    def step(self, source: Source) -> Node:
        task, head = self.task, self.rig.head
        values = self.random.uniform(task.action_low, task.action_high)
        proposal = None
        if self.random.random() < 0.8:
            proposal = self.random.uniform(task.action_low, task.action_high)
            answer = Action(proposal, Source.POLICY, self.tree.epoch, head.step)
            self.write(POLICY_ACTION, self.message(answer))
        action = Action(values, source, self.tree.epoch, head.step)
        phase = PHASE_OF[source]
        self.write(MUX_STATE, self._mux_state(phase))
        self.write(ACTION, self.message(action))
        # A phase that begins while the rig computes does not count for the step under way.
        self.write(MUX_STATE, self._mux_state(MuxState.PHASE_PAUSED))
        self.rig.receive(action)
        request = self.rig.begin_step()
        node = self.rig.finish_step(request, self.observe())
        assert node is not None
        executed = self.message(request.action)
        executed.header.stamp = self.show(node)
        self.write(RIG_EXECUTED, executed)
        self.shadow[node.id] = proposal if proposal is not None else values * np.nan
        self.phases[node.id] = phase
        return node

    def _mux_state(self, phase: int) -> MuxState:
        state = MuxState(phase=phase)
        state.header.stamp = self.stamp()
        return state

    def rollback(self, steps: int) -> None:
        before = self.rig.head
        node = self.rig.rollback(steps=steps)
        self.event(
            TreeEvent.KIND_ROLLBACK, node=node.id, from_node=before.id, branch=self.rig.branch
        )
        self.show_context()

    def fork(self, name: str) -> None:
        branch = self.rig.fork(name=name)
        self.event(TreeEvent.KIND_BRANCH, node=branch.fork, branch=name)
        self.show_context()

    def label(self, label: Label, note: str) -> None:
        branch = self.rig.label('', label, note)
        self.event(
            TreeEvent.KIND_LABEL,
            node=branch.head,
            branch=branch.name,
            label=int(label),
            note=note,
        )

    def checkpoint(self, name: str) -> None:
        node = self.rig.save_checkpoint(name)
        self.event(TreeEvent.KIND_CHECKPOINT, node=node.id, name=name, branch=self.rig.branch)


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
        np.testing.assert_array_equal(episode.actions, [node.action for node in nodes])
        assert episode.sources.tolist() == [int(node.source) for node in nodes]
        np.testing.assert_array_equal(episode.shadow, [session.shadow[node.id] for node in nodes])
        assert episode.phases.tolist() == [session.phases[node.id] for node in nodes]
        assert episode.frames.dtype == episode.sources.dtype == episode.phases.dtype == np.uint8
        assert episode.nodes.dtype == np.uint64


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
