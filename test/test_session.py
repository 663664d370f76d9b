# SPDX-License-Identifier: Apache-2.0
"""A session from end to end, without a browser: policy, takeover, rollback, branch, and the bag."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.bag_reader import BagReader
from hiwm_core.episodes import read_episodes
from hiwm_core.session_log import read_session
from hiwm_rig.conversion import nanoseconds_of
from test.operating import ask, take_over
from test.probe import watching
from test.process import Process

LAUNCHES = {
    'world_model': 'wm_session.launch.py',
    'sim_arm': 'robot_session.launch.py',
}


@pytest.mark.parametrize('rig', LAUNCHES)
@pytest.mark.timeout(300)
def test_a_whole_session(rig: str, tmp_path: Path) -> None:
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        LAUNCHES[rig],
        'headless:=true',
        'pace:=lockstep',
        'session:=whole',
        f'record_dir:={tmp_path}',
        'seed:=5',
    ]
    event = Takeover.Request
    with watching() as probe, Process(command, tmp_path / 'log') as session:
        probe.until(
            lambda: (
                session.child.poll() is not None
                or (probe.mux.phase == MuxState.PHASE_AUTONOMOUS and probe.state.step >= 30)
            ),
            'the policy drives',
        )
        assert session.child.poll() is None, session.text
        ask(probe, event.EVENT_PAUSE, MuxState.PHASE_PAUSED)
        probe.until(lambda: probe.state.mode == RigState.MODE_PAUSED, 'the rig stands still')

        take_over(probe, np.array([0.004, 0.0]), 30)
        ask(probe, event.EVENT_PAUSE, MuxState.PHASE_PAUSED)
        first_branch = probe.state.branch
        back = probe.must(contract.ROLLBACK, steps=20)
        branch = probe.must(contract.BRANCH, name='correction')
        assert branch.node == back.node
        probe.until(lambda: probe.state.epoch == branch.epoch, 'the branch shows')
        probe.until(lambda: probe.mux.epoch == branch.epoch, 'the mux has seen it')
        assert probe.mux.phase == MuxState.PHASE_PAUSED

        take_over(probe, np.array([0.0, 0.004]), 20)
        ask(probe, event.EVENT_RELEASE, MuxState.PHASE_PAUSED)
        ask(probe, event.EVENT_RESUME, MuxState.PHASE_AUTONOMOUS)
        probe.until_step(probe.state.step + 40)
        ask(probe, event.EVENT_PAUSE, MuxState.PHASE_PAUSED)
        probe.must(contract.LABEL, label=1, note='found its way back')

        tree = probe.must(contract.GET_TREE, max_nodes=10_000)
        probe.until(lambda: probe.states[-1].mode == RigState.MODE_PAUSED, 'all stands still')
        published = {
            nanoseconds_of(message.header.stamp): hashlib.sha256(message.data).hexdigest()
            for message in list(probe.messages[contract.IMAGE.name])
        }
        assert session.interrupt() == 0, session.text
        assert session.left_behind() == []

    bag = tmp_path / 'whole' / 'bag'
    log = read_session(bag, probe.task)
    assert log.tree.parents() == {node.node: node.parent for node in tree.nodes}
    assert {branch.name: (branch.fork, branch.head) for branch in log.tree.branches.values()} == {
        branch.name: (branch.fork, branch.head) for branch in tree.branches
    }
    assert log.tree.branches['correction'].label == 1
    drivers = {Source.POLICY, Source.OPERATOR, Source.HOLD, Source.HANDOVER}
    for node in tree.nodes:
        row = log.tree.nodes[node.node].row
        assert log.has_frame[row]
        assert log.sources[row] == node.source
        assert node.source in drivers or not node.parent

    with BagReader(bag) as reader:
        recorded = {
            nanoseconds_of(message.header.stamp): hashlib.sha256(message.data).hexdigest()
            for _, message in reader.messages([contract.IMAGE])
        }
    # Before the recorder has found the rig, only the still start is shown, again and again.
    begin = min(recorded)
    assert len({published[stamp] for stamp in published if stamp <= begin}) <= 1
    running = {stamp: digest for stamp, digest in published.items() if stamp >= begin}
    assert len(running) > 120
    assert {stamp: recorded.get(stamp) for stamp in running} == running

    episodes = {episode.branch: episode for episode in read_episodes(tmp_path, probe.task)}
    assert set(episodes) == {first_branch, 'correction'}
    corrected = episodes['correction']
    assert (corrected.sources == Source.OPERATOR).sum() >= 20
    assert (corrected.sources == Source.POLICY).sum() >= 60
    assert corrected.frames.shape[0] == len(corrected.actions) + 1


def test_a_task_without_a_policy_is_driven_and_recorded(tmp_path: Path) -> None:
    """How a new task comes by its first demonstrations."""
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        'robot_session.launch.py',
        'policy:=none',
        'headless:=true',
        'pace:=lockstep',
        'session:=first',
        f'record_dir:={tmp_path}',
    ]
    recorder = contract.RECORDER_STATE.name
    with watching() as probe, Process(command, tmp_path / 'log') as session:
        probe.until(
            lambda: (
                session.child.poll() is not None
                or (probe.mux and any(state.recording for state in probe.messages[recorder]))
            ),
            'everything is ready',
        )
        assert session.child.poll() is None, session.text
        take_over(probe, np.array([0.004, 0.0]), 10)
        ask(probe, Takeover.Request.EVENT_RELEASE, MuxState.PHASE_PAUSED)
        assert session.interrupt() == 0, session.text
    (episode,) = read_episodes(tmp_path, probe.task)
    assert (episode.sources == Source.OPERATOR).sum() >= 10
    assert (episode.sources == Source.POLICY).sum() == 0
