# SPDX-License-Identifier: Apache-2.0
"""A live rig node: the frames that it publishes, at which pace, by which actions."""

from __future__ import annotations

from typing import Any

from hiwm_msgs.msg import RigState, TreeEvent
from live_rig import Launch, LiveRig, begin, drive, target
import numpy as np

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.backend import first_observation
from hiwm_rig.base_node import publisher, subscription
from hiwm_rig.conversion import frame_of, nanoseconds_of

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
