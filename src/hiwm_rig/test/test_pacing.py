# SPDX-License-Identifier: Apache-2.0
"""How time runs: at another speed, or only while somebody commands; and frames of the past."""

from __future__ import annotations

from collections.abc import Callable
import math

import cv2
from hiwm_msgs.msg import RigState
from live_rig import LiveRig
import numpy as np
import pytest
from test.probe import Probe

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Pace
from hiwm_rig.conversion import nanoseconds_of
from hiwm_rig.pacing import Advance, Pacing

Launch = Callable[..., LiveRig]


def begin(launch: Launch) -> Probe:
    """A rig in realtime that runs and has shown its first frame."""
    probe = launch(pace='realtime', start='running').probe
    probe.until(lambda: probe.states, 'the first state')
    return probe


def middle(probe: Probe, share: float) -> np.ndarray:
    low, high = probe.task.action_low, probe.task.action_high
    return low + (high - low) * share


@pytest.mark.parametrize(
    ('pacing', 'begun', 'answered', 'due'),
    [
        (Pacing(Pace.REALTIME), True, False, True),
        (Pacing(Pace.REALTIME), False, True, False),
        (Pacing(Pace.REALTIME, Advance.ON_INPUT), True, False, False),
        (Pacing(Pace.REALTIME, Advance.ON_INPUT), False, True, False),
        (Pacing(Pace.REALTIME, Advance.ON_INPUT), True, True, True),
        (Pacing(Pace.LOCKSTEP), True, False, False),
        (Pacing(Pace.LOCKSTEP), False, True, True),
        (Pacing(Pace.LOCKSTEP, Advance.ON_INPUT), False, True, True),
    ],
)
def test_when_a_step_is_due(pacing: Pacing, begun: bool, answered: bool, due: bool) -> None:
    assert pacing.is_due(begun, answered) is due


@pytest.mark.parametrize(('advance', 'speed'), [(3, 0.0), (0, 0.1), (0, 5.0), (0, math.nan)])
def test_what_no_pace_can_be_changes_nothing(advance: int, speed: float) -> None:
    pacing = Pacing(Pace.REALTIME, Advance.ON_INPUT, 2.0)
    with pytest.raises(HiwmError):
        pacing.set(advance, speed)
    assert pacing == Pacing(Pace.REALTIME, Advance.ON_INPUT, 2.0)


def test_time_stands_still_without_input(launch: Launch) -> None:
    probe = begin(launch)
    answer = probe.must(contract.SET_PACE, advance=RigState.ADVANCE_ON_INPUT)
    assert (answer.advance, answer.speed) == (RigState.ADVANCE_ON_INPUT, 1.0)
    probe.until(lambda: probe.state.advance == RigState.ADVANCE_ON_INPUT, 'the state says so')
    # A step that was due before may still come.
    stamp = nanoseconds_of(probe.state.header.stamp)
    probe.until(
        lambda: nanoseconds_of(probe.state.header.stamp) > stamp + 5 * 10**8, 'time on the clock'
    )
    stood = probe.state
    probe.until(
        lambda: (
            nanoseconds_of(probe.state.header.stamp)
            > nanoseconds_of(stood.header.stamp) + 5 * 10**8
        ),
        'the same frame, again and again',
    )
    assert probe.state.node == stood.node
    assert probe.state.missed_deadlines == stood.missed_deadlines
    probe.send(middle(probe, 0.6), probe.state)
    probe.until_step(stood.step + 1)
    executed = probe.messages[contract.RIG_EXECUTED.name][-1]
    assert executed.source == int(Source.OPERATOR)
    probe.must(contract.SET_PACE, advance=RigState.ADVANCE_ALWAYS)
    probe.until_step(stood.step + 4)


def test_time_runs_at_the_speed_that_was_asked_for(launch: Launch) -> None:
    """The ratio of two speeds on one machine: loaded or not, four times as fast is more."""
    probe = begin(launch)
    assert probe.state.speed == 1.0 and probe.state.can_set_pace
    assert probe.must(contract.SET_PACE, speed=0.25).speed == 0.25
    probe.until(lambda: probe.state.speed == 0.25, 'the state says so')

    def seconds_for(steps: int) -> float:
        first = probe.state
        last = probe.until_step(first.step + steps)
        return (nanoseconds_of(last.header.stamp) - nanoseconds_of(first.header.stamp)) / 1e9

    slow = seconds_for(4)
    assert slow > 3 * 0.35
    probe.must(contract.SET_PACE, speed=4.0)
    probe.until(lambda: probe.state.speed == 4.0, 'the state says so')
    assert seconds_for(4) < slow
    assert probe.state.tick_time > 0
    answer = probe.call(contract.SET_PACE, speed=9.0)
    assert (answer.success, answer.error_code) == (False, int(ErrorCode.INVALID_ARGUMENT))
    assert '0.25 to 4' in answer.message and probe.state.speed == 4.0


def test_frames_of_the_past_can_be_had(launch: Launch) -> None:
    probe = begin(launch)
    probe.until_step(3)
    probe.must(contract.PAUSE)
    states = {state.node: state for state in probe.states}
    answer = probe.must(contract.GET_FRAMES, nodes=[3, 99, 1])
    assert list(answer.nodes) == [3, 1]
    for node, image in zip(answer.nodes, answer.frames, strict=True):
        assert image.format == 'png'
        shown = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert np.array_equal(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB), probe.frame(states[node]))
    small = probe.must(contract.GET_FRAMES, nodes=[2], width=24).frames[0]
    shown = cv2.imdecode(np.frombuffer(small.data, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (24, 24, 3)
    for nodes in ([], list(range(1, 80))):
        refused = probe.call(contract.GET_FRAMES, nodes=nodes)
        assert refused.error_code == int(ErrorCode.INVALID_ARGUMENT)
        assert '1 to 64 nodes' in refused.message
