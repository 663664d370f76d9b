# SPDX-License-Identifier: Apache-2.0
"""What a live rig node is asked: to go back, to branch, to stand still; and what it refuses."""

from __future__ import annotations

import threading

from hiwm_msgs.msg import RigState, TreeEvent
from live_rig import Launch, begin, drive, target
import numpy as np
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.error import ErrorCode

# -- discontinuities -----------------------------------------------------------------------------


def test_the_past_is_shown_again_after_a_rollback(launch: Launch) -> None:
    _, probe = begin(launch, context_frames=3)
    drive(probe, *np.linspace(0, 1, 7))
    originals = {state.node: probe.frame(state).tobytes() for state in probe.states}
    seen = len(probe.states)
    answer = probe.must(contract.ROLLBACK, steps=2)
    assert (answer.epoch, answer.node, answer.step) == (2, 6, 5)
    probe.until(lambda: len(probe.states) >= seen + 3, 'the context')
    again = probe.states[seen : seen + 3]
    assert [state.epoch for state in again] == [2] * 3
    assert [state.node for state in again] == [4, 5, 6]
    assert [state.context for state in again] == [True, True, False]
    assert {state.mode for state in again} == {RigState.MODE_PAUSED}
    for state in again:
        assert probe.frame(state).tobytes() == originals[state.node]
    event = probe.until(lambda: probe.messages[contract.RIG_TREE.name][1], 'the event')
    assert (event.kind, event.epoch) == (TreeEvent.KIND_ROLLBACK, 2)
    assert (event.node, event.from_node, event.seed) == (6, 8, -1)


def test_the_same_actions_after_a_rollback_give_the_same_frames(launch: Launch) -> None:
    rig, probe = begin(launch)
    shares = np.linspace(0.9, 0.1, 6)
    drive(probe, *shares)
    probe.must(contract.ROLLBACK, node=3)
    probe.must(contract.RESUME)
    probe.until(lambda: probe.state.mode == RigState.MODE_RUNNING, 'the resumed state')
    drive(probe, *shares[2:])
    there, here = rig.node._rig.tree.history(7, 4), rig.node._rig.tree.history(11, 4)
    for one, other in zip(there, here, strict=True):
        first, second = (rig.node._rig.tree.observation(node.id) for node in (one, other))
        assert first.frame.tobytes() == second.frame.tobytes()
        assert first.joints.tobytes() == second.joints.tobytes()
    assert probe.state.branch == 'branch-1'
    event = probe.until(lambda: probe.messages[contract.RIG_TREE.name][2], 'the branch')
    assert (event.kind, event.branch, event.node) == (TreeEvent.KIND_BRANCH, 'branch-1', 3)


@pytest.mark.parametrize('move', ['reset', 'rollback', 'branch'])
def test_a_step_that_the_scene_left_behind_is_never_shown(launch: Launch, move: str) -> None:
    rig, probe = begin(launch)
    drive(probe, 0.1, 0.2)
    at = probe.state
    rig.backend.gate.clear()
    rig.backend.entered.clear()
    probe.send(target(probe, 0.9), at)
    probe.until(rig.backend.entered.is_set, 'the step')
    if move == 'reset':
        # A backend has one call at a time, so a reset waits for the step.
        opener = threading.Timer(0.2, rig.backend.gate.set)
        opener.start()
        probe.must(contract.RESET, seed=1)
    else:
        service = contract.ROLLBACK if move == 'rollback' else contract.BRANCH
        probe.must(service, **({'steps': 1} if move == 'rollback' else {'node': 2}))
        rig.backend.gate.set()
    probe.must(contract.RESUME)
    probe.until(lambda: probe.state.mode == RigState.MODE_RUNNING, 'the resumed state')
    drive(probe, 0.5)
    assert rig.backend.overlaps == 0
    tree = probe.must(contract.GET_TREE)
    assert tree.node_count == len(tree.nodes) == (5 if move == 'reset' else 4)
    assert [state.node for state in probe.states if state.epoch == at.epoch][-1] == at.node


def test_a_pause_stands_after_the_step_in_progress(launch: Launch) -> None:
    rig, probe = begin(launch)
    drive(probe, 0.1)
    rig.backend.gate.clear()
    rig.backend.entered.clear()
    probe.send(target(probe, 0.9), probe.state)
    probe.until(rig.backend.entered.is_set, 'the step')
    threading.Timer(0.2, rig.backend.gate.set).start()
    assert probe.must(contract.PAUSE).step == 2
    assert probe.until_step(2).mode == RigState.MODE_PAUSED
    probe.send(target(probe, 0.5), probe.state)
    assert probe.must(contract.PAUSE).step == 2, 'a pause is no step, however often it is asked for'


# -- services ------------------------------------------------------------------------------------


def test_every_refusal_has_its_code_and_a_sentence(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 0.1, 0.2)
    probe.must(contract.SAVE_CHECKPOINT, name='here')
    probe.must(contract.BRANCH, name='mine')
    before = (probe.until_step(2).epoch, probe.must(contract.GET_TREE).node_count)
    for service, fields, code, sentence in (
        (contract.ROLLBACK, {}, ErrorCode.INVALID_ARGUMENT, 'exactly one of'),
        (contract.ROLLBACK, {'node': 1, 'steps': 1}, ErrorCode.INVALID_ARGUMENT, 'exactly one of'),
        (contract.ROLLBACK, {'node': 99}, ErrorCode.UNKNOWN_NODE, 'no node 99; the tree has'),
        (contract.ROLLBACK, {'steps': 9}, ErrorCode.INVALID_ARGUMENT, '9 steps is too far'),
        (contract.ROLLBACK, {'checkpoint': 'x'}, ErrorCode.UNKNOWN_CHECKPOINT, "checkpoint 'x'"),
        (contract.BRANCH, {'name': 'mine'}, ErrorCode.NAME_TAKEN, "'mine' exists already"),
        (contract.BRANCH, {'node': 99}, ErrorCode.UNKNOWN_NODE, 'no node 99'),
        (contract.SAVE_CHECKPOINT, {'name': 'here'}, ErrorCode.NAME_TAKEN, "'here' exists"),
        (contract.SAVE_CHECKPOINT, {}, ErrorCode.INVALID_ARGUMENT, 'needs a name'),
        (contract.SAVE_CHECKPOINT, {'name': 'a', 'node': 99}, ErrorCode.UNKNOWN_NODE, 'node 99'),
        (contract.LABEL, {'branch': 'x'}, ErrorCode.UNKNOWN_BRANCH, "no branch 'x'"),
        (contract.LABEL, {'label': 9}, ErrorCode.INVALID_ARGUMENT, 'not 9'),
        (contract.STEP, {'count': 0}, ErrorCode.INVALID_ARGUMENT, '1 to 100, not 0'),
        (contract.STEP, {'count': 101}, ErrorCode.INVALID_ARGUMENT, '1 to 100, not 101'),
        (contract.RESET, {'scene': [0.1]}, ErrorCode.INVALID_ARGUMENT, 'has 5 values'),
        (contract.RESET, {'scene': [9.0] * 5}, ErrorCode.INVALID_ARGUMENT, "'pusher_x' is 9 m"),
    ):
        answer = probe.call(service, **fields)
        assert not answer.success, f'{service.name} {fields}'
        assert answer.error_code == int(code), f'{service.name} {fields}: {answer.message}'
        assert sentence in answer.message
    probe.must(contract.RESUME)
    answer = probe.call(contract.STEP, count=1)
    assert (answer.success, answer.error_code) == (False, int(ErrorCode.NOT_PAUSED))
    tree = probe.must(contract.GET_TREE)
    assert (tree.epoch, tree.node_count) == before


def test_every_service_does_what_it_says(launch: Launch) -> None:
    _, probe = begin(launch, seed=5)
    assert probe.must(contract.PAUSE).step == 0
    stepped = probe.must(contract.STEP, count=3)
    assert (stepped.node, stepped.step) == (4, 3)
    assert probe.must(contract.SAVE_CHECKPOINT, name='here', node=2).node == 2
    branch = probe.must(contract.BRANCH, node=3, resample=True)
    assert (branch.branch, branch.node, branch.epoch) == ('branch-1', 3, 2)
    assert probe.must(contract.STEP, count=1).node == 5
    label = probe.must(contract.LABEL, label=1, note='good')
    assert (label.branch, label.node) == ('branch-1', 5)
    back = probe.must(contract.ROLLBACK, checkpoint='here')
    assert (back.node, back.step, back.epoch) == (2, 1, 3)
    reset = probe.must(contract.RESET, seed=9)
    assert (reset.node, reset.seed, reset.epoch) == (6, 9, 4)
    scene = probe.task.start_scene(9)
    state = probe.until(lambda: probe.state.node == 6 and probe.state, 'the new root')
    assert np.array_equal(state.scene_values, scene)
    drawn = [probe.must(contract.RESET, seed=-1).seed for _ in range(3)]
    assert len(set(drawn)) == 3
    placed = probe.must(contract.RESET, scene=[*scene[:4].tolist(), 7.0])
    assert placed.seed == -1
    state = probe.until(lambda: probe.state.node == placed.node and probe.state, 'the scene')
    assert state.scene_values[4] == 7.0
    assert probe.must(contract.RESUME).success
    tree = probe.must(contract.GET_TREE)
    assert [node.node for node in tree.nodes] == list(range(1, 11))
    assert [node.parent for node in tree.nodes][:6] == [0, 1, 2, 3, 3, 0]
    assert [node.source for node in tree.nodes][:2] == [int(Source.NONE), int(Source.HOLD)]
    assert (tree.head, tree.node_count) == (placed.node, 10)
    assert dict(zip(tree.checkpoint_names, tree.checkpoint_nodes, strict=True)) == {'here': 2}
    branches = {each.name: each for each in tree.branches}
    assert (branches['branch-1'].fork, branches['branch-1'].note) == (3, 'good')
    page = probe.must(contract.GET_TREE, after_node=3, max_nodes=2)
    assert [node.node for node in page.nodes] == [4, 5]
    assert len(page.branches) == len(branches)
    assert not probe.must(contract.GET_TREE, after_node=10).nodes
    assert not probe.must(contract.GET_TREE, since=tree.version).branches
    assert probe.must(contract.LABEL, branch='branch-1', label=2, note='bad').success
    news = probe.must(contract.GET_TREE, since=tree.version)
    assert [(each.name, each.note) for each in news.branches] == [('branch-1', 'bad')]
    assert news.version > tree.version
    kinds = [event.kind for event in probe.messages[contract.RIG_TREE.name]]
    kind = TreeEvent
    assert kinds[:6] == [
        kind.KIND_RESET,
        kind.KIND_CHECKPOINT,
        kind.KIND_BRANCH,
        kind.KIND_LABEL,
        kind.KIND_ROLLBACK,
        kind.KIND_RESET,
    ]


def test_without_a_seed_the_rig_waits_for_a_reset(launch: Launch) -> None:
    probe = launch(seed=-1).probe
    for service, fields in (
        (contract.PAUSE, {}),
        (contract.RESUME, {}),
        (contract.STEP, {'count': 1}),
        (contract.ROLLBACK, {'steps': 1}),
        (contract.BRANCH, {}),
        (contract.SAVE_CHECKPOINT, {'name': 'a'}),
        (contract.LABEL, {'label': 1}),
    ):
        answer = probe.call(service, **fields)
        assert answer.error_code == int(ErrorCode.NOT_READY), service.name
        assert 'reset it first' in answer.message
    assert probe.must(contract.GET_TREE).node_count == 0
    assert not probe.states
    probe.must(contract.RESET, seed=4)
    probe.until(lambda: probe.state.node == 1, 'the start')
