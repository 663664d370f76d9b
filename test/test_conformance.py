# SPDX-License-Identifier: Apache-2.0
"""The rig contract, held against every rig alike: every other node may rely on what stands here."""

from __future__ import annotations

from collections.abc import Iterator
import itertools
import math

from hiwm_msgs.msg import RigState, TreeEvent
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.error import ErrorCode
from hiwm_rig.base_node import profile_of
from hiwm_rig.conversion import nanoseconds_of
from test.probe import Probe, watching
from test.process import Process
from test.rigs import RIGS
from test.rollout_client import RolloutClient

RIGHT = np.array([0.02, 0.0])


@pytest.fixture(scope='module', params=RIGS)
def rig_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope='module')
def probe(rig_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    """A rig in lockstep, in a process of its own, and a listener that was there before it."""
    log = tmp_path_factory.mktemp('rig') / 'log'
    with (
        watching() as probe,
        Process([*RIGS[rig_name], '-p', 'pace:=lockstep', '-p', 'seed:=7'], log),
    ):
        probe.until(lambda: probe.states, f'{rig_name} shows itself')
        yield probe


@pytest.fixture
def fresh(probe: Probe) -> Probe:
    """The rig after a reset to a start with room to the right, running."""
    response = probe.must(contract.RESET, scene=[0.1, 0.3, 0.35, 0.15, 0.5])
    probe.until_epoch(response.epoch)
    if probe.is_physical and probe.joints[0] > 0.25:
        # It takes its time to the start.
        probe.until(lambda: probe.joints[0] < 0.12, 'the arm is at the start')
    probe.resume()
    return probe


def is_refused(probe: Probe, service: contract.Service, **fields: object) -> None:
    """A physical rig answers with its sentence."""
    response = probe.call(service, **fields)
    assert not response.success and response.error_code == ErrorCode.NOT_SUPPORTED
    assert response.message.startswith('a physical rig cannot be ')


def ramp(probe: Probe, steps: int) -> np.ndarray:
    """Actions (steps, 2) that go on to the right from where the arm is."""
    return probe.joints + RIGHT * np.arange(1, steps + 1)[:, None]


def test_every_topic_has_its_type_and_quality(probe: Probe) -> None:
    for topic in contract.RIG_TOPICS:
        (offered,) = probe.node.get_publishers_info_by_topic(topic.name)
        expected = profile_of(topic.quality)
        assert offered.topic_type == topic.type
        assert offered.qos_profile.reliability == expected.reliability, topic.name
        assert offered.qos_profile.durability == expected.durability, topic.name
    (listens,) = [
        info
        for info in probe.node.get_subscriptions_info_by_topic(contract.ACTION.name)
        if info.node_name != 'probe'
    ]
    assert listens.topic_type == contract.ACTION.type
    assert listens.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_every_service_is_served_with_its_type(probe: Probe) -> None:
    served = dict(probe.node.get_service_names_and_types())
    for service in contract.RIG_SERVICES:
        assert served[service.name] == [service.type]


def test_frames_look_like_the_real_cameras(fresh: Probe) -> None:
    fresh.drive_rig(ramp(fresh, 3))
    camera = fresh.task.camera
    image = fresh.messages[contract.IMAGE.name][-1]
    info = fresh.messages[contract.CAMERA_INFO.name][-1]
    assert image.encoding == 'rgb8' and image.is_bigendian == 0
    assert image.header.frame_id == info.header.frame_id == contract.CAMERA_FRAME_ID
    assert (image.width, image.height, image.step) == (
        camera.width,
        camera.height,
        3 * camera.width,
    )
    assert len(image.data) == image.height * image.step
    assert (info.width, info.height) == (camera.width, camera.height)
    assert info.distortion_model == 'plumb_bob' and list(info.d) == [0.0] * 5
    assert list(info.r) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    assert info.p[0] == info.k[0] == camera.fx


def test_image_info_joints_and_state_share_their_stamp(fresh: Probe) -> None:
    fresh.drive_rig(ramp(fresh, 10))
    stamps = {
        topic.name: [nanoseconds_of(m.header.stamp) for m in fresh.messages[topic.name]]
        for topic in (
            contract.IMAGE,
            contract.CAMERA_INFO,
            contract.JOINT_STATES,
            contract.RIG_STATE,
        )
    }
    arrived = min(series[-1] for series in stamps.values())
    newest = {
        name: tuple(stamp for stamp in series if stamp <= arrived)[-12:]
        for name, series in stamps.items()
    }
    if fresh.is_physical:
        # The camera may show more frames than there are states.
        assert newest[contract.JOINT_STATES.name] == newest[contract.RIG_STATE.name]
        assert set(newest[contract.RIG_STATE.name]) <= set(stamps[contract.IMAGE.name])
    else:
        assert len(set(newest.values())) == 1
    for name, series in stamps.items():
        assert series == sorted(series), f'a stamp of {name} went back'


def test_joints_are_named_and_in_metres(fresh: Probe) -> None:
    states = fresh.drive_rig(ramp(fresh, 5))
    joints = fresh.messages[contract.JOINT_STATES.name][-1]
    assert tuple(joints.name) == fresh.task.joint_names
    for value, variable in zip(joints.position, fresh.task.actions, strict=True):
        assert variable.low - 0.02 <= value <= variable.high + 0.02
    scene = dict(zip(states[-1].scene_names, states[-1].scene_values, strict=True))
    if fresh.is_physical:
        assert not scene, 'a robot without trackers knows nothing of the scene'
        return
    np.testing.assert_allclose(joints.position, [scene['pusher_x'], scene['pusher_y']], atol=1e-9)


def test_state_says_what_the_rig_is(fresh: Probe, rig_name: str) -> None:
    state = fresh.state
    assert state.rig == rig_name.split(':', maxsplit=1)[0] and state.task == 'pusht'
    assert state.pace == RigState.PACE_LOCKSTEP and state.period == pytest.approx(0.1)
    assert state.can_pause
    if fresh.is_physical:
        assert not (state.can_rollback or state.can_branch or state.can_set_pace)
        assert math.isnan(state.progress) and math.isnan(state.success)
    else:
        assert state.can_rollback and state.can_branch and state.can_set_pace
        assert 0.0 <= state.progress <= 1.0 and 0.0 <= state.success <= 1.0
    assert 0.0 <= state.fidelity <= 1.0
    assert all(math.isfinite(value) for value in state.scene_values)


def test_the_arm_follows_the_commands(fresh: Probe) -> None:
    start = fresh.joints[0]
    fresh.drive_rig(ramp(fresh, 10))
    assert fresh.joints[0] - start > 0.1


def test_what_was_executed_is_published_with_its_source(fresh: Probe) -> None:
    before = len(fresh.messages[contract.RIG_EXECUTED.name])
    far = np.array([9.0, 0.3])
    state = fresh.state
    fresh.send(far, state)
    fresh.until_step(state.step + 1)
    fresh.until(
        lambda: len(fresh.messages[contract.RIG_EXECUTED.name]) == before + 1, 'it is published'
    )
    executed = fresh.messages[contract.RIG_EXECUTED.name][-1]
    assert executed.source == Source.OPERATOR
    if fresh.is_physical:
        # A busy machine's step is longer, and the arm gets farther in it.
        high = fresh.task.actions[0].high
        assert fresh.joints[0] - 0.05 < executed.values[0] < high, 'as far as its speed allowed'
    else:
        assert executed.values[0] == fresh.task.actions[0].high, 'clipped, and recorded as clipped'
    assert (executed.epoch, executed.observation_step) == (state.epoch, state.step)
    assert executed.header.stamp == fresh.state.header.stamp


def test_lockstep_waits_for_the_action_of_the_step(fresh: Probe) -> None:
    at = fresh.state
    late = fresh.make_action(ramp(fresh, 1)[0], at)
    late.observation_step = at.step + 5
    fresh.action.publish(late)
    fresh.must(contract.SAVE_CHECKPOINT, name=f'still at {at.node}')
    assert fresh.state.step == at.step
    fresh.send(ramp(fresh, 1)[0], at)
    fresh.until_step(at.step + 1)


@pytest.mark.parametrize('cause', ['reset', 'rollback', 'branch'])
def test_a_discontinuity_raises_the_epoch_and_shows_the_past_again(
    fresh: Probe, cause: str
) -> None:
    reached = fresh.drive_rig(ramp(fresh, 12))
    frames = {state.node: fresh.frame(state).copy() for state in reached}
    before = fresh.state.epoch
    seen = len(fresh.states)
    if fresh.is_physical and cause != 'reset':
        service = contract.ROLLBACK if cause == 'rollback' else contract.BRANCH
        is_refused(fresh, service)
        fresh.send(ramp(fresh, 1)[0], fresh.state)
        assert fresh.until_step(reached[-1].step + 1).epoch == before
        return
    response = {
        'reset': lambda: fresh.must(contract.RESET, seed=3),
        'rollback': lambda: fresh.must(contract.ROLLBACK, steps=2),
        'branch': lambda: fresh.must(contract.BRANCH),
    }[cause]()
    assert response.epoch == before + 1
    shown = fresh.until(
        lambda: [
            state
            for state in fresh.states[seen:]
            if state.epoch == response.epoch and state.mode == RigState.MODE_PAUSED
        ],
        'the new epoch shows',
    )
    fresh.until(lambda: not fresh.state.context, 'the head shows')
    again = []
    for state in fresh.states[seen:]:
        if state.epoch == response.epoch:
            again.append(state)
            if not state.context:
                break
    assert shown and again[-1].node == response.node
    if cause == 'reset':
        assert len(again) == 1
        return
    assert len(again) == contract.CONTEXT_FRAMES and all(state.context for state in again[:-1])
    for earlier, later in itertools.pairwise(again):
        assert later.parent == earlier.node
    for state in again:
        np.testing.assert_array_equal(fresh.frame(state), frames[state.node])


def test_tree_events_are_told(fresh: Probe) -> None:
    fresh.drive_rig(ramp(fresh, 3))
    node = fresh.state.node
    fresh.must(contract.SAVE_CHECKPOINT, name=f'point {node}')
    if fresh.is_physical:
        fresh.must(contract.LABEL, label=1, note='well done')
        fresh.until(
            lambda: fresh.messages[contract.RIG_TREE.name][-1].kind == TreeEvent.KIND_LABEL,
            'the label is told',
        )
        checkpoint, label = fresh.messages[contract.RIG_TREE.name][-2:]
        assert (checkpoint.kind, checkpoint.name) == (TreeEvent.KIND_CHECKPOINT, f'point {node}')
        assert (label.label, label.note) == (1, 'well done')
        return
    fresh.must(contract.BRANCH, name=f'fork {node}')
    fresh.must(contract.LABEL, label=1, note='well done')
    fresh.must(contract.ROLLBACK, steps=1)
    fresh.until(
        lambda: fresh.messages[contract.RIG_TREE.name][-1].kind == TreeEvent.KIND_ROLLBACK,
        'the rollback is told',
    )
    checkpoint, branch, label, rollback = fresh.messages[contract.RIG_TREE.name][-4:]
    assert (checkpoint.kind, checkpoint.name, checkpoint.node) == (
        TreeEvent.KIND_CHECKPOINT,
        f'point {node}',
        node,
    )
    assert (branch.kind, branch.branch) == (TreeEvent.KIND_BRANCH, f'fork {node}')
    assert (label.kind, label.label, label.note) == (TreeEvent.KIND_LABEL, 1, 'well done')
    assert rollback.from_node == node


def test_stale_actions_are_dropped_and_counted(fresh: Probe) -> None:
    reached = fresh.drive_rig(ramp(fresh, 4))
    dropped = fresh.state.dropped_actions
    if fresh.is_physical:
        response, step = fresh.must(contract.RESET, seed=3), 0
    else:
        response = fresh.must(contract.ROLLBACK, steps=2)
        step = response.step
    fresh.until_epoch(response.epoch)
    fresh.resume()
    stale = fresh.make_action(ramp(fresh, 1)[0], reached[1])
    stale.observation_step = step
    fresh.action.publish(stale)
    fresh.must(contract.GET_TREE, max_nodes=1)
    fresh.send(ramp(fresh, 1)[0], fresh.state)
    state = fresh.until_step(step + 1, response.epoch)
    assert state.dropped_actions == dropped + 1


def broken(probe: Probe, how: str) -> object:
    message = probe.make_action(ramp(probe, 1)[0], probe.state)
    if how == 'not a number':
        message.values = [math.nan, 0.1]
    elif how == 'infinite':
        message.values = [math.inf, 0.1]
    elif how == 'wrong names':
        message.names = ['x', 'z']
    elif how == 'too short':
        message.names, message.values = ['x'], [0.1]
    return message


@pytest.mark.parametrize('how', ['not a number', 'infinite', 'wrong names', 'too short'])
def test_broken_actions_are_rejected_and_counted(fresh: Probe, how: str) -> None:
    at = fresh.state
    fresh.action.publish(broken(fresh, how))
    # Commands are kept to the newest one, so the rig gets time to see this one by itself.
    fresh.must(contract.GET_TREE, max_nodes=1)
    fresh.send(ramp(fresh, 1)[0], at)
    state = fresh.until_step(at.step + 1)
    assert state.rejected_actions == at.rejected_actions + 1
    assert state.step == at.step + 1


def test_the_same_actions_from_the_same_node_give_the_same_frames(fresh: Probe) -> None:
    if fresh.is_physical:
        pytest.skip('nothing happens twice on a physical rig')
    start, actions = fresh.state, ramp(fresh, 12)
    first = [fresh.frame(state).copy() for state in fresh.drive_rig(actions)]
    response = fresh.must(contract.ROLLBACK, node=start.node)
    fresh.until_epoch(response.epoch)
    fresh.resume()
    again = fresh.drive_rig(actions)
    for state, frame in zip(again, first, strict=True):
        np.testing.assert_array_equal(fresh.frame(state), frame)
    assert again[-1].branch != start.branch, 'the old future is kept, this one is another branch'


def test_stepping_by_hand(fresh: Probe) -> None:
    if fresh.is_physical:
        is_refused(fresh, contract.STEP, count=1)
        fresh.must(contract.PAUSE)
        is_refused(fresh, contract.STEP, count=1)
        return
    assert fresh.call(contract.STEP, count=1).error_code == ErrorCode.NOT_PAUSED
    at = fresh.state
    assert fresh.must(contract.PAUSE).step == at.step
    response = fresh.must(contract.STEP, count=3)
    assert response.step == at.step + 3
    assert fresh.call(contract.STEP, count=0).error_code == ErrorCode.INVALID_ARGUMENT
    fresh.until(lambda: fresh.messages[contract.RIG_EXECUTED.name], 'it is published')
    assert fresh.messages[contract.RIG_EXECUTED.name][-1].source == Source.HOLD


@pytest.mark.parametrize(
    ('service', 'fields', 'code'),
    [
        (contract.ROLLBACK, {'node': 10**9}, ErrorCode.UNKNOWN_NODE),
        (contract.ROLLBACK, {'checkpoint': 'nowhere'}, ErrorCode.UNKNOWN_CHECKPOINT),
        (contract.ROLLBACK, {'steps': 10**6}, ErrorCode.INVALID_ARGUMENT),
        (contract.ROLLBACK, {}, ErrorCode.INVALID_ARGUMENT),
        (contract.ROLLBACK, {'node': 1, 'steps': 1}, ErrorCode.INVALID_ARGUMENT),
        (contract.BRANCH, {'node': 10**9}, ErrorCode.UNKNOWN_NODE),
        (contract.BRANCH, {'name': 'run-1'}, ErrorCode.NAME_TAKEN),
        (contract.LABEL, {'branch': 'nowhere', 'label': 1}, ErrorCode.UNKNOWN_BRANCH),
        (contract.LABEL, {'label': 9}, ErrorCode.INVALID_ARGUMENT),
        (contract.SAVE_CHECKPOINT, {'name': ''}, ErrorCode.INVALID_ARGUMENT),
        (contract.RESET, {'scene': [0.1, 0.2]}, ErrorCode.INVALID_ARGUMENT),
        (contract.RESET, {'scene': [math.nan] * 5}, ErrorCode.INVALID_ARGUMENT),
        (contract.RESET, {'scene': [7.0, 0.2, 0.2, 0.2, 0.0]}, ErrorCode.INVALID_ARGUMENT),
    ],
)
def test_a_refusal_is_one_sentence_and_changes_nothing(
    fresh: Probe, service: contract.Service, fields: dict[str, object], code: ErrorCode
) -> None:
    before = fresh.state
    if fresh.is_physical and service in {contract.ROLLBACK, contract.BRANCH}:
        code = ErrorCode.NOT_SUPPORTED
    response = fresh.call(service, **fields)
    assert not response.success
    assert response.error_code == code, response.message
    assert response.message and '\n' not in response.message
    fresh.send(ramp(fresh, 1)[0], before)
    after = fresh.until_step(before.step + 1, before.epoch)
    assert (after.epoch, after.parent) == (before.epoch, before.node)


def test_the_tree_is_given_in_pages(fresh: Probe) -> None:
    fresh.drive_rig(ramp(fresh, 10))
    whole = fresh.must(contract.GET_TREE)
    assert whole.head == fresh.state.node == whole.node_count
    pages, after = [], 0
    while len(pages) < whole.node_count:
        page = fresh.must(contract.GET_TREE, after_node=after, max_nodes=7)
        assert 0 < len(page.nodes) <= 7
        pages += page.nodes
        after = page.nodes[-1].node
    assert [node.node for node in pages] == list(range(1, whole.node_count + 1))
    assert all(node.parent < node.node for node in pages)
    heads = {branch.name: branch.head for branch in whole.branches}
    assert heads[fresh.state.branch] == whole.head


def test_every_rig_answers_whether_the_policy_recovers(fresh: Probe) -> None:
    client = RolloutClient(fresh)
    _, result = client.ask(count=2, horizon=5)
    assert result.error_code == int(ErrorCode.INVALID_ARGUMENT)
    assert "name one in the goal or in the rig's parameter 'policy'" in result.message
    client.destroy()
