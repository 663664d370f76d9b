# SPDX-License-Identifier: Apache-2.0
"""The soak: a short one from end to end, and what its figures and its comparison are made of."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import subprocess
import sys
from typing import Any

from bench.agreement import Agreement, compare
from bench.process_memory import MEGABYTE, MemoryLog, growth
from hiwm_msgs.msg import RigState, TreeEvent
import numpy as np
import pytest
from rclpy.serialization import serialize_message

from hiwm_core.action import Action, Source
from hiwm_core.contract import IMAGE, JOINT_STATES, RIG_EXECUTED, RIG_STATE, RIG_TREE
from hiwm_core.observation import Observation
from hiwm_core.rollout_tree import Label, RolloutTree
from hiwm_core.session_bag import SessionBag
from hiwm_core.task import load_task
from hiwm_rig.conversion import action_message, image_message, joint_message, time_message

TASK = load_task('pusht')


@pytest.mark.timeout(300)
def test_a_short_soak_finds_no_fault(tmp_path: Path) -> None:
    path = tmp_path / 'soak.json'
    command = [sys.executable, '-m', 'bench.soak', '--minutes', '0.1', '--seed', '2']
    run = subprocess.run(
        [*command, '--json', str(path)], capture_output=True, text=True, timeout=290, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    result = json.loads(path.read_text())
    assert result['seed'] == 2
    assert result['errors'] == []
    assert result['agreement']['differ'] == 0
    assert result['agreement']['agree']['nodes'] == result['nodes']
    assert result['agreement']['agree']['frames'] == result['nodes']
    nodes = {'world_model', 'policy', 'action_mux', 'recorder', 'console', 'launch'}
    assert set(result['memory']) == nodes
    for each in result['memory'].values():
        assert each['end_mb'] > 10
    assert path.with_suffix('.png').read_bytes().startswith(b'\x89PNG')


# -- memory ----------------------------------------------------------------------------------------


def log_of(level: Callable[[float], float]) -> MemoryLog:
    """200 samples of a process whose memory in MB is a function of the share of the time."""
    log = MemoryLog()
    log.times = list(np.linspace(0.0, 100.0, 200))
    log.nodes = [round(50 * at) for at in log.times]
    values = [level(at / 100.0) * MEGABYTE for at in log.times]
    log.bytes = {'node': {'resident': values, 'own': values, 'shared': [0.0] * 200}}
    return log


def test_growth_is_that_of_the_second_half() -> None:
    figures = growth(log_of(lambda share: 100.0 if share < 0.4 else 200.0), {})['node']
    assert figures['growth_percent'] == 0.0
    figures = growth(log_of(lambda share: 200.0 if share < 0.9 else 210.0), {})['node']
    assert figures['growth_percent'] == pytest.approx(5.0)
    assert (figures['half_mb'], figures['end_mb']) == (200.0, 210.0)


def test_a_peak_is_no_growth() -> None:
    assert (
        growth(log_of(lambda share: 900.0 if share > 0.99 else 200.0), {})['node']
        == growth(log_of(lambda share: 200.0), {})['node']
    )


def test_what_the_tree_costs_is_taken_off() -> None:
    # 2500 nodes come in the second half; each costs 4 kB, which is 10 MB.
    log = log_of(lambda share: 190.0 + 20.0 * share)
    figures = growth(log, {'node': 4000.0})['node']
    assert figures['growth_percent'] == pytest.approx(5.0, abs=0.3)
    assert figures['growth_beside_tree_percent'] == pytest.approx(0.0, abs=0.3)
    assert figures['tree_mb'] == pytest.approx(10.0, abs=0.1)


# -- agreement -------------------------------------------------------------------------------------


class Recording:
    """A small session: its tree, and the messages that its rig published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.messages: list[tuple[str, Any]] = []
        self._stamp = 10**18
        random = np.random.default_rng(1)
        tree = RolloutTree(folder, 0)
        tree.add_root(self._observed(random), 'run-1', 1)
        self._show(tree)
        for number in range(6):
            if number == 3:
                tree.add_branch('other', 2)
                self._tell(TreeEvent.KIND_BRANCH, node=2, branch='other')
                tree.move_head(2, 'other')
            action = random.uniform(0.1, 0.4, 2)
            tree.add_child(self._observed(random), action, Source.POLICY, tree.head_branch)
            self._show(tree, action)
        tree.label('other', Label.SUCCESS, 'well done')
        self._tell(TreeEvent.KIND_LABEL, node=7, branch='other', label=1, note='well done')
        tree.add_checkpoint('here', 3)
        self._tell(TreeEvent.KIND_CHECKPOINT, node=3, name='here')
        tree.close()

    @staticmethod
    def _observed(random: np.random.Generator) -> Observation:
        return Observation(random.integers(0, 256, TASK.frame_shape, np.uint8), np.zeros(2))

    def _next_stamp(self) -> Any:
        self._stamp += 1
        return time_message(self._stamp)

    def _tell(self, kind: int, **fields: Any) -> None:
        event = TreeEvent(kind=kind, **fields)
        event.header.stamp = self._next_stamp()
        self.messages.append((RIG_TREE.name, event))

    def _show(self, tree: RolloutTree, action: np.ndarray | None = None) -> None:
        node, stamp = tree.nodes[tree.head], self._next_stamp()
        state = RigState(
            node=node.id, parent=node.parent, branch=node.branch, step=node.step, epoch=node.epoch
        )
        state.header.stamp = stamp
        frame = tree.observation(node.id).frame
        joints = joint_message(TASK.joint_names, np.zeros(2), stamp)
        self.messages += [
            (IMAGE.name, image_message(frame, stamp)),
            (JOINT_STATES.name, joints),
            (RIG_STATE.name, state),
        ]
        if action is not None:
            executed = Action(action, Source.POLICY, node.epoch, node.step - 1)
            # Topics keep no order among each other.
            self.messages.append((RIG_EXECUTED.name, action_message(TASK, executed, stamp)))

    def compare(self) -> Agreement:
        bag = self.folder / 'bag'
        topics = (IMAGE, JOINT_STATES, RIG_EXECUTED, RIG_STATE, RIG_TREE)
        with SessionBag(bag, topics, {'kind': 'session'}) as written:
            for number, (topic, message) in enumerate(self.messages):
                written.write(topic, serialize_message(message), 10**18 + number)
        return compare(bag, self.folder, TASK)


def test_a_bag_of_the_same_session_agrees(tmp_path: Path) -> None:
    found = Recording(tmp_path).compare()
    assert (found.differences, found.examples) == (0, [])
    assert found.counts == {
        'nodes': 7,
        'executed actions': 6,
        'frames': 7,
        'starts': 1,
        'checkpoints': 1,
        'branches': 2,
    }


def test_a_start_whose_first_state_was_latched_is_found_when_it_is_shown_again(
    tmp_path: Path,
) -> None:
    recording = Recording(tmp_path)
    first = next(message for name, message in recording.messages if name == RIG_STATE.name)
    latched = RigState(node=1, branch=first.branch, epoch=first.epoch)
    latched.header.stamp = time_message(10**18 - 5)
    recording.messages.insert(0, (RIG_STATE.name, latched))
    found = recording.compare()
    assert (found.differences, found.examples) == (0, [])
    assert found.counts['frames'] == 7


def without(topic: str, number: int) -> Callable[[Recording], None]:
    def spoil(recording: Recording) -> None:
        places = [at for at, (name, _) in enumerate(recording.messages) if name == topic]
        del recording.messages[places[number]]

    return spoil


def with_another(topic: str, number: int, change: Callable[[Any], None]) -> Any:
    def spoil(recording: Recording) -> None:
        change([message for name, message in recording.messages if name == topic][number])

    return spoil


def move(message: Any) -> None:
    message.values[0] += 1e-12


def brighten(message: Any) -> None:
    message.data[5000] ^= 1


def adopt(message: Any) -> None:
    message.parent += 1


@pytest.mark.parametrize(
    ('spoil', 'sentence'),
    [
        (without(RIG_STATE.name, 2), 'nodes of node 3'),
        (without(IMAGE.name, 3), 'frames of node 4'),
        (without(RIG_EXECUTED.name, 3), 'executed actions of node 5'),
        (without(RIG_TREE.name, 0), "branches of 'other'"),
        (without(RIG_TREE.name, 1), "branches of 'other'"),
        (without(RIG_TREE.name, 2), 'checkpoints of the session'),
        (with_another(RIG_EXECUTED.name, 2, move), 'executed actions of node 4'),
        (with_another(IMAGE.name, 6, brighten), 'frames of node 7'),
        (with_another(RIG_STATE.name, 5, adopt), 'nodes of node 6'),
    ],
)
def test_every_difference_is_found_and_named(
    spoil: Callable[[Recording], None], sentence: str, tmp_path: Path
) -> None:
    recording = Recording(tmp_path)
    spoil(recording)
    found = recording.compare()
    assert found.differences == 1
    assert found.examples[0].startswith(sentence)
