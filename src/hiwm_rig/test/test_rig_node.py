# SPDX-License-Identifier: Apache-2.0
"""A live rig node: what it publishes, answers and executes, and what stops it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import signal
import threading
import time
from typing import Any

from hiwm_msgs.msg import RigState, TreeEvent
from live_rig import LiveRig
import numpy as np
from numpy.typing import NDArray
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from test.probe import PATIENCE, Probe, watching
from test.process import Process

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.backend import first_observation
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode
from hiwm_core.rollout_tree import JOURNAL_NAME, RolloutTree
from hiwm_rig.base_node import publisher, subscription
from hiwm_rig.conversion import frame_of, nanoseconds_of

Launch = Callable[..., LiveRig]
SIGNALS = pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM], ids=['int', 'term'])
MAKE_RIG = "make = lambda: RigNode('rig', lambda task, values: PointMass(task))"


def target(probe: Probe, x: float, y: float = 0.2) -> NDArray[np.float64]:
    """An action of the task, by two shares of its ranges."""
    low, high = probe.task.action_low, probe.task.action_high
    return low + (high - low) * np.array([x, y])


def begin(launch: Launch, /, **parameters: object) -> tuple[LiveRig, Probe]:
    """A rig in lockstep that runs, unless told otherwise, and has shown its first frame."""
    rig = launch(**{'pace': 'lockstep', 'start': 'running', **parameters})
    rig.probe.until(lambda: rig.probe.states, 'the first state')
    return rig, rig.probe


def drive(probe: Probe, *shares: float) -> None:
    probe.drive_rig(np.array([target(probe, share) for share in shares]))


# -- frames --------------------------------------------------------------------------------------


def test_the_messages_of_a_frame_carry_one_stamp_and_the_frames_content(launch: Launch) -> None:
    rig, probe = begin(launch)
    drive(probe, *np.linspace(0, 1, 12))
    state = probe.until_step(12)
    stamp = nanoseconds_of(state.header.stamp)

    def of_stamp(topic: contract.Topic) -> list[Any]:
        return [
            message
            for message in probe.messages[topic.name]
            if nanoseconds_of(message.header.stamp) == stamp
        ]

    for topic in (contract.IMAGE, contract.CAMERA_INFO, contract.JOINT_STATES):
        probe.until(lambda topic=topic: of_stamp(topic), f'{topic.name} of the state')
        assert len(of_stamp(topic)) == 1
    (executed,) = probe.until(lambda: of_stamp(contract.RIG_EXECUTED), 'the executed action')
    (image,), (info,) = of_stamp(contract.IMAGE), of_stamp(contract.CAMERA_INFO)
    (joints,) = of_stamp(contract.JOINT_STATES)
    assert (image.width, image.height) == (info.width, info.height)
    assert image.header.frame_id == info.header.frame_id == contract.CAMERA_FRAME_ID
    scene = np.array(state.scene_values)
    assert np.array_equal(list(joints.position), probe.task.joints_of_scene(scene))
    seen = first_observation(rig.backend, scene, 0)
    assert np.array_equal(frame_of(image), seen.frame)
    assert (state.progress, state.fidelity) == (seen.progress, 1.0)
    assert np.isnan(state.success)
    assert (executed.epoch, executed.observation_step) == (state.epoch, 11)
    assert list(executed.values) == target(probe, 1.0).tolist()
    assert (state.rig, state.task, state.session) == ('rig', 'pusht', 'session')
    assert (state.mode, state.pace) == (RigState.MODE_RUNNING, RigState.PACE_LOCKSTEP)
    assert state.period == probe.task.period
    assert state.can_pause
    assert state.can_rollback
    assert state.can_branch
    stamps = [nanoseconds_of(state.header.stamp) for state in probe.states]
    assert stamps == sorted(set(stamps))


def test_a_paused_camera_keeps_showing_the_node(launch: Launch) -> None:
    _, probe = begin(launch, pace='realtime', start='paused')
    probe.until(lambda: len(probe.states) > 5, 'more frames of the pause')
    states = probe.states[:6]
    assert {(state.node, state.step, state.mode) for state in states} == {(1, 0, 1)}
    assert len({nanoseconds_of(state.header.stamp) for state in states}) == 6
    frames = [probe.frame(state).tobytes() for state in states]
    assert len(set(frames)) == 1


def test_a_late_subscriber_gets_the_state(launch: Launch) -> None:
    # In realtime nothing new comes while a step is held up, so what comes is the latched one.
    rig, probe = begin(launch, pace='realtime')
    probe.until_step(1)
    rig.backend.gate.clear()
    rig.backend.entered.clear()
    probe.until(rig.backend.entered.is_set, 'a step that is held up')
    latest = probe.until(lambda: probe.states[-1], 'a state')
    late: list[RigState] = []
    subscription(probe.node, contract.RIG_STATE, late.append)
    probe.until(lambda: late and late[-1].node == latest.node, 'the latched state')
    events: list[TreeEvent] = []
    subscription(probe.node, contract.RIG_TREE, events.append)
    probe.until(lambda: events, 'the latched event')
    assert [(event.kind, event.seed) for event in events] == [(TreeEvent.KIND_RESET, 0)]


def test_a_lockstep_rig_shows_the_frame_again_while_it_waits(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 0.3)
    before = len(probe.states)
    probe.until(lambda: len(probe.states) > before + 2, 'the frame again')
    assert {state.node for state in probe.states[before:]} == {2}


def test_stamps_rise_and_time_goes_on_whatever_the_clock_does(launch: Launch) -> None:
    # Simulated time that nobody publishes: the clock stands at 0.
    _, probe = begin(launch, pace='realtime', use_sim_time='true')
    probe.until_step(4)
    stamps = [nanoseconds_of(state.header.stamp) for state in probe.states]
    assert stamps == sorted(set(stamps))
    assert stamps[-1] < 1000


# -- pace ----------------------------------------------------------------------------------------


def test_lockstep_advances_only_on_an_action_for_the_step(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 0.1, 0.2)
    at = probe.state
    # Neither an old nor a future step, nor an unreadable action, nor time moves it.
    old, future = probe.make_action(target(probe, 0.5), at), probe.make_action(target(probe, 0), at)
    old.observation_step, future.observation_step = 1, 3
    bad = probe.make_action(target(probe, 0.5), at)
    bad.values[0] = float('nan')
    probe.action.publish(future)
    probe.until(lambda: probe.state.dropped_actions == 1, 'the count of dropped actions')
    probe.action.publish(bad)
    probe.until(lambda: probe.state.rejected_actions == 1, 'the count of rejected actions')
    probe.action.publish(old)
    shown = len(probe.states)
    probe.until(lambda: len(probe.states) > shown + 3, 'the same frame again')
    assert probe.state.step == 2
    drive(probe, 0.3)
    assert probe.state.executed_actions == 3


def test_an_action_sent_twice_makes_one_step(launch: Launch) -> None:
    rig, probe = begin(launch)
    drive(probe, 0.1)
    at = probe.state
    rig.backend.gate.clear()
    rig.backend.entered.clear()
    probe.send(target(probe, 0.5), at)
    probe.until(rig.backend.entered.is_set, 'the step')
    # Once more, for the step that is just being computed.
    probe.send(target(probe, 0.9), at)
    probe.until(lambda: _waiting_seq(rig) == probe._seq, 'the second action to arrive')
    rig.backend.gate.set()
    probe.until_step(2)
    shown = len(probe.states)
    probe.until(lambda: len(probe.states) > shown + 2, 'more frames')
    assert probe.state.step == 2


def _waiting_seq(rig: LiveRig) -> int:
    """The sequence number of the action that the rig would execute next."""
    return int(rig.run(lambda: rig.node._rig.begin_step().action.seq))  # type: ignore[call-overload]


def test_lockstep_never_loses_an_answer_however_fast_it_comes(launch: Launch) -> None:
    _, probe = begin(launch)

    # Answers every frame from the subscription itself, as soon as it is there.
    def answer(state: RigState) -> None:
        if state.mode == RigState.MODE_RUNNING:
            sender.publish(probe.make_action(target(probe, state.step % 7 / 7), state))

    sender = publisher(probe.node, contract.ACTION)
    subscription(probe.node, contract.RIG_STATE, answer)
    answers_to = probe.until_step(400)
    assert answers_to.dropped_actions == 0
    states = [state for state in probe.states if not state.context]
    steps = [state.step for state in states]
    assert sorted(set(steps)) == list(range(max(steps) + 1))
    executed = probe.messages[contract.RIG_EXECUTED.name]
    assert {message.source for message in executed} == {int(Source.OPERATOR)}
    assert [message.observation_step for message in executed] == list(range(len(executed)))


def test_realtime_goes_on_without_actions_and_says_hold(launch: Launch) -> None:
    _, probe = begin(launch, pace='realtime')
    probe.until_step(3)
    executed = probe.messages[contract.RIG_EXECUTED.name]
    assert {message.source for message in executed} == {int(Source.HOLD)}
    start_joints = list(probe.messages[contract.JOINT_STATES.name][0].position)
    assert np.allclose(list(executed[0].values), start_joints)
    probe.send(target(probe, 0.7), probe.state)
    probe.until(
        lambda: (
            [m.source for m in executed[-3:]] == [int(Source.OPERATOR)] * 2 + [int(Source.HOLD)]
            or [m.source for m in executed[-2:]] == [int(Source.OPERATOR), int(Source.HOLD)]
        ),
        'the action, and a hold after it',
    )
    assert probe.state.pace == RigState.PACE_REALTIME


def test_a_slow_backend_is_counted_and_holds_up_nothing_else(launch: Launch) -> None:
    rig, probe = begin(launch, pace='realtime')
    probe.until_step(1)
    rig.backend.gate.clear()
    rig.backend.entered.clear()
    probe.until(rig.backend.entered.is_set, 'a step that is held up')
    assert probe.must(contract.SAVE_CHECKPOINT, name='here').node == probe.state.node
    probe.until(
        lambda: (
            probe.call(contract.GET_TREE).success
            and rig.run(lambda: rig.node._rig.missed_deadlines) > 2
        ),  # type: ignore[operator]
        'missed deadlines',
    )
    rig.backend.gate.set()
    probe.until(lambda: probe.state.missed_deadlines > 2, 'the count in the state')


# -- actions -------------------------------------------------------------------------------------


def test_unreadable_actions_are_counted_and_never_executed(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 0.4)
    at = probe.state
    for changes in (
        {'values': [float('nan'), 0.1]},
        {'values': [0.1, float('-inf')]},
        {'values': [0.1]},
        {'values': [], 'names': []},
        {'names': ['x', 'z']},
        {'names': ['x', 'x']},
        {'names': ['x', 'y', 'z'], 'values': [0.1, 0.1, 0.1]},
    ):
        message = probe.make_action(target(probe, 0.5), at)
        for name, value in changes.items():
            setattr(message, name, value)
        before = probe.state.rejected_actions
        probe.action.publish(message)
        probe.until(
            lambda before=before: probe.state.rejected_actions == before + 1,
            f'the count of {changes}',
        )
    assert probe.state.rejected_actions == 7
    assert probe.state.step == 1
    swapped = probe.make_action(target(probe, 0.5, 0.25), at)
    swapped.names, swapped.values = swapped.names[::-1], swapped.values[::-1]
    probe.action.publish(swapped)
    probe.until_step(2)
    executed = probe.until(lambda: probe.messages[contract.RIG_EXECUTED.name][1], 'it')
    assert list(executed.values) == target(probe, 0.5, 0.25).tolist()
    assert list(executed.names) == ['x', 'y']


def test_an_action_for_an_older_epoch_is_dropped_and_counted(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 0.1, 0.9)
    at = probe.state
    probe.must(contract.ROLLBACK, steps=1)
    probe.must(contract.RESUME)
    probe.send(target(probe, 0.5), at)
    probe.until(lambda: probe.state.dropped_actions == 1, 'the count')
    assert (probe.state.step, probe.state.executed_actions) == (1, 2)


def test_what_is_executed_is_clipped(launch: Launch) -> None:
    _, probe = begin(launch)
    drive(probe, 99.0)
    executed = probe.until(lambda: probe.messages[contract.RIG_EXECUTED.name][0], 'it')
    assert executed.values[0] == probe.task.action_high[0]


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


# -- faults --------------------------------------------------------------------------------------


def out_of_memory() -> Exception:
    """What numpy raises where there is no memory."""
    with pytest.raises(MemoryError) as enormous:
        np.empty(2**55)
    return enormous.value


@pytest.mark.parametrize(
    ('error', 'sentence'),
    [
        (RuntimeError('the tensor has no end'), 'the tensor has no end'),
        (out_of_memory(), 'there is no memory left (Unable to allocate'),
    ],
    ids=['any', 'memory'],
)
def test_a_backend_that_raises_is_a_fault_that_a_rollback_mends(
    launch: Launch, error: Exception, sentence: str
) -> None:
    rig, probe = begin(launch)
    drive(probe, 0.1, 0.2)
    rig.backend.error = error
    probe.send(target(probe, 0.3), probe.state)
    fault = probe.until(
        lambda: probe.state.mode == RigState.MODE_FAULT and probe.state, 'the fault'
    )
    assert 'point_mass failed in a step' in fault.message
    assert sentence in fault.message
    assert fault.step == 2
    refused = probe.call(contract.RESUME)
    assert refused.error_code == int(ErrorCode.MODEL_FAULT)
    assert sentence in refused.message
    assert probe.call(contract.STEP, count=1).error_code == int(ErrorCode.NOT_PAUSED)
    probe.must(contract.ROLLBACK, node=3)
    probe.must(contract.RESUME)
    probe.until(lambda: probe.state.mode == RigState.MODE_RUNNING, 'the recovery')
    assert not probe.state.message
    drive(probe, 0.3)
    assert probe.must(contract.GET_TREE).node_count == 4, 'nothing was lost or made twice'


def test_a_frame_that_is_not_the_tasks_is_a_fault(launch: Launch) -> None:
    rig, probe = begin(launch, start='paused')
    rig.backend.spoiled = True
    answer = probe.call(contract.STEP, count=1)
    assert answer.error_code == int(ErrorCode.MODEL_FAULT)
    assert 'uint8 (96, 96, 3) is needed' in answer.message
    probe.until(lambda: probe.state.mode == RigState.MODE_FAULT, 'the fault')
    assert probe.must(contract.GET_TREE).node_count == 1


def test_a_reset_that_fails_leaves_the_rig_as_it_was(launch: Launch) -> None:
    rig, probe = begin(launch)
    drive(probe, 0.1)
    rig.backend.error = HiwmError('the scene is in a knot')
    answer = probe.call(contract.RESET, seed=3)
    assert answer.error_code == int(ErrorCode.MODEL_FAULT)
    assert 'point_mass failed in a reset: the scene is in a knot' in answer.message
    drive(probe, 0.2)
    assert probe.state.epoch == 1


FULL_DISK = """
import os
import resource


class Filling(PointMass):
    steps = 0

    def __init__(self, task, folder):
        super().__init__(task)
        self.journal = os.path.join(folder, 'tree.journal')

    def step(self, states, actions, keys):
        self.steps += 1
        if self.steps == 4:
            # From here on no file of this process can grow beyond the journal's size.
            size = os.path.getsize(self.journal)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        return super().step(states, actions, keys)


make = lambda: RigNode('rig', lambda task, values: Filling(task, values['session_dir']))
"""


@pytest.mark.parametrize('by_hand', [False, True])
def test_a_full_disk_ends_the_session_with_an_error(
    process: Callable[..., Process], tmp_path: Path, by_hand: bool
) -> None:
    folder = tmp_path / 'session'
    begun = 'paused' if by_hand else 'running'
    with (
        watching() as probe,
        process(FULL_DISK, '-p', f'session_dir:={folder}', '-p', f'start:={begun}') as rig,
    ):
        if by_hand:
            answer = probe.call(contract.STEP, count=10)
            assert answer.error_code == int(ErrorCode.STORAGE_FAULT)
            assert 'tree.journal could not be written: File too large' in answer.message
        assert rig.wait() == 1
        assert 'tree.journal could not be written: File too large' in rig.text
        assert 'Traceback' not in rig.text
        shown = {state.node for state in probe.states}
    tree = RolloutTree(folder, 0)
    assert len(tree.nodes) == 4
    assert shown <= set(tree.nodes)
    for node in tree.nodes:
        tree.observation(node)
    tree.close()


# -- start and end -------------------------------------------------------------------------------


def until(holds: Callable[[], bool]) -> None:
    """Wait for a process to do something."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@SIGNALS
def test_a_signal_ends_a_running_rig_cleanly(
    process: Callable[..., Process], tmp_path: Path, end: signal.Signals
) -> None:
    arguments = ('-p', f'session_dir:={tmp_path}', '-p', 'start:=running')
    with process(MAKE_RIG, *arguments) as rig:
        until(lambda: 'is ready' in rig.text)
        begun = (tmp_path / JOURNAL_NAME).stat().st_size
        until(lambda: (tmp_path / JOURNAL_NAME).stat().st_size > begun + 2000)
        rig.child.send_signal(end)
        assert rig.wait() == 0
        assert 'Traceback' not in rig.text
        assert 'rror' not in rig.text


@SIGNALS
def test_a_signal_while_weights_are_loaded_is_no_fault(
    process: Callable[..., Process], end: signal.Signals
) -> None:
    # They are waited for, from somebody who is gone too when everything is told to end.
    slow = (
        'import time\n'
        'def make():\n'
        "    print('loading', flush=True)\n"
        '    while rclpy.ok():\n'
        '        time.sleep(0.02)\n'
        "    raise ConfigurationError('nobody answered')"
    )
    with process(slow) as rig:
        until(lambda: 'loading' in rig.text)
        rig.child.send_signal(end)
        assert rig.wait() == 0
        assert 'Traceback' not in rig.text


def test_an_interrupt_lets_a_callback_that_has_begun_end(
    process: Callable[..., Process],
) -> None:
    # An exception between any two instructions meets rclpy where it cannot pass it on.
    slow = (
        'import time\n'
        'class Slow(Node):\n'
        '    def __init__(self):\n'
        "        super().__init__('slow')\n"
        '        self.create_timer(0.01, self.work)\n'
        '    def work(self):\n'
        "        print('begun', flush=True)\n"
        '        time.sleep(0.5)\n'
        "        print('ended', flush=True)\n"
        'make = Slow'
    )
    with process(slow) as node:
        until(lambda: 'begun' in node.text)
        node.child.send_signal(signal.SIGINT)
        assert node.wait() == 0
        assert node.text.count('begun') == node.text.count('ended')


def test_a_killed_session_goes_on_with_every_node_that_was_shown(
    process: Callable[..., Process], tmp_path: Path
) -> None:
    folder = tmp_path / 'session'
    arguments = ('-p', f'session_dir:={folder}', '-p', 'start:=running')
    with watching() as probe:
        with process(MAKE_RIG, *arguments) as rig:
            probe.until(lambda: len(probe.messages[contract.IMAGE.name]) > 3, 'frames')
            probe.must(contract.SAVE_CHECKPOINT, name='here', node=2)
            rig.child.kill()
            rig.wait()
        images = probe.messages[contract.IMAGE.name]
        stamps = {nanoseconds_of(image.header.stamp) for image in images}
        shown = {
            state.node: probe.frame(state).tobytes()
            for state in probe.states
            if nanoseconds_of(state.header.stamp) in stamps
        }
        seen = len(probe.states)
        with process(MAKE_RIG, *arguments, '-p', 'seed:=8') as rig:
            probe.until(lambda: len(probe.states) > seen + 6, 'the session to go on')
            assert rig.interrupt() == 0
    later = probe.states[seen:]
    assert {state.epoch for state in later} == {2}
    assert {state.branch for state in later} == {'run-1'}
    tree = RolloutTree(folder, 0)
    assert tree.seed == 0
    assert tree.checkpoint('here').id == 2
    path = [node.id for node in tree.ancestors(later[-1].node)]
    assert path == list(range(later[-1].node, 0, -1)), 'it goes on where it was killed'
    assert later[-1].node > max(shown)
    for node, frame in shown.items():
        assert tree.observation(node).frame.tobytes() == frame
    tree.close()


def test_two_rigs_cannot_share_a_session(
    process: Callable[..., Process], launch: Launch, tmp_path: Path
) -> None:
    folder = tmp_path / 'session'
    _, probe = begin(launch, session_dir=folder)
    with process(MAKE_RIG, '-p', f'session_dir:={folder}') as second:
        assert second.wait() == 1
        assert 'tree.journal is in use by another session; end that one' in second.text
    drive(probe, 0.5)


def test_the_life_cycle_may_be_managed_from_outside(launch: Launch) -> None:
    rig = launch(autostart='false', pace='realtime', start='running')
    node, probe = rig.node, rig.probe
    success = TransitionCallbackReturn.SUCCESS
    assert rig.run(node.trigger_configure) is success
    refused = probe.call(contract.RESET, seed=1)
    assert refused.error_code == int(ErrorCode.NOT_READY)
    assert 'rig is not active; activate it first' in refused.message
    assert not probe.states
    assert rig.run(node.trigger_activate) is success
    probe.until_step(2)
    assert rig.run(node.trigger_deactivate) is success
    paused = probe.until(lambda: probe.state.mode == RigState.MODE_PAUSED and probe.state, 'a stop')
    assert probe.call(contract.RESUME).error_code == int(ErrorCode.NOT_READY)
    assert rig.run(node.trigger_activate) is success
    probe.until(lambda: probe.state.step > paused.step + 1, 'more steps')
    assert probe.state.epoch == 2
    assert rig.run(node.trigger_deactivate) is success
    assert rig.run(node.trigger_cleanup) is success
    probe.until(lambda: not node.count_publishers(contract.IMAGE.name), 'the topics to go')
    names = [name for name, _ in node.get_service_names_and_types_by_node('rig', '/')]
    assert not [name for name in names if name.startswith('/rig/re')]
    # Configured again it is a new session, with each service once.
    assert rig.run(node.trigger_configure) is success
    assert rig.run(node.trigger_activate) is success
    probe.until(lambda: probe.state.epoch == 1 and probe.state.step > 1, 'a new session')
    assert rig.run(node.trigger_shutdown) is success
    probe.until(lambda: not node.count_publishers(contract.IMAGE.name), 'the topics to go')
    assert node._rig.mode is Mode.PAUSED
