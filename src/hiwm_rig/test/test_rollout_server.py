# SPDX-License-Identifier: Apache-2.0
"""The rollout action of a live rig: what it reports, refuses, and leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
import signal
import threading
from typing import Any

from action_msgs.msg import GoalStatus
from hiwm_msgs.msg import RigState
from live_rig import LiveRig, Pliable
import numpy as np
from numpy.typing import NDArray
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from test.probe import Probe
from test.process import Process
from test.rollout_client import RolloutClient

from hiwm_core import contract
from hiwm_core.backend import Readings
from hiwm_core.error import ErrorCode
from hiwm_core.interval import wilson

FloatArray = NDArray[np.float64]
USUAL = {'count': 8, 'horizon': 15, 'policy': 'climber'}
LONG = {'count': 256, 'horizon': 2000, 'policy': 'sleeper'}

POLICY = """
import numpy as np
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError


class Climber:
    '''Sends the first joint to a height of its own, three steps at a time.'''

    name, context, chunk_steps = 'climber', 2, 3

    def __init__(self, task):
        self.task = task

    def chunk(self, history, key):
        assert 1 <= len(history) <= 2
        share = np.random.default_rng(key).uniform(0.0, 1.1)
        low, high = self.task.action_low, self.task.action_high
        return np.repeat((low + share * (high - low))[None], 4, axis=0)


def climber(task, model):
    return Climber(task)


class Sleeper(Climber):
    '''Stays where it is, so that its rollouts are long.'''

    name = 'sleeper'

    def chunk(self, history, key):
        return np.repeat(self.task.hold_action(history[-1].joints)[None], 3, axis=0)


def sleeper(task, model):
    return Sleeper(task)


class Hosted(Climber):
    '''Has a process of its own, so to say: it may die, and then only a new one helps.'''

    made = 0

    def __init__(self, task, folder):
        super().__init__(task)
        Hosted.made += 1
        self.name = f'hosted {Hosted.made}'
        self.folder, self.ended = folder, False

    def chunk(self, history, key):
        if (self.folder / 'dies').exists():
            (self.folder / 'dies').unlink()
            self.close()
        if self.ended:
            raise HiwmError('the host has ended', ErrorCode.MODEL_FAULT)
        return super().chunk(history, key)

    def close(self):
        self.ended = True


def hosted(task, model):
    return Hosted(task, model)


def other(task, model):
    raise ConfigurationError(f"the policy was trained for task 'rope', not '{task.name}'")
"""
ENTRY_POINTS = """
[hiwm.policies]
climber = policy_of_a_test:climber
sleeper = policy_of_a_test:sleeper
hosted = policy_of_a_test:hosted
other = policy_of_a_test:other
"""


class Climb(Pliable):
    """Its progress is the height of the first joint; several rows at once may be held up."""

    def __init__(self, task: Any) -> None:
        super().__init__(task)
        self.many = threading.Event()

    def step(self, states: FloatArray, actions: FloatArray, keys: Sequence[int]) -> FloatArray:
        if len(states) > 1:
            self.many.set()
        return super().step(states, actions, keys)

    def heads(self, states: FloatArray, frames: NDArray[np.uint8] | None = None) -> Readings:
        readings = super().heads(states, frames)
        low, high = self._task.action_low[0], self._task.action_high[0]
        height = (readings.joints[:, 0] - low) / (high - low)
        return replace(readings, progress=height, success=(height > 0.95).astype(float))


@pytest.fixture(autouse=True)
def policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with policies, as an installer leaves it."""
    folder = tmp_path / 'package'
    metadata = folder / 'policy_of_a_test-1.0.dist-info'
    metadata.mkdir(parents=True)
    (folder / 'policy_of_a_test.py').write_text(POLICY)
    (metadata / 'METADATA').write_text('Name: policy-of-a-test\nVersion: 1.0\n')
    (metadata / 'entry_points.txt').write_text(ENTRY_POINTS)
    monkeypatch.syspath_prepend(folder)
    return folder


Begin = Callable[..., tuple[LiveRig, Probe, RolloutClient]]


@pytest.fixture
def begin(launch: Callable[..., LiveRig]) -> Iterator[Begin]:
    """A rig that has shown its first frame, and who asks it."""
    clients = []

    def begin(**parameters: Any) -> tuple[LiveRig, Probe, RolloutClient]:
        rig = launch(Climb, **{'seed': 1, **parameters})
        rig.probe.until(lambda: rig.probe.states, 'the first state')
        clients.append(RolloutClient(rig.probe, **USUAL))
        return rig, rig.probe, clients[-1]

    yield begin
    for client in clients:
        client.destroy()


def rows(result: Any) -> list[tuple[Any, ...]]:
    return [
        (each.succeeded, each.steps_to_success, each.steps, each.progress, each.best_progress)
        for each in result.continuations
    ]


def test_it_says_how_many_recover_and_leaves_the_session_alone(begin: Begin) -> None:
    _, probe, client = begin(policy='climber', rollout_batch=3)
    probe.must(contract.STEP, count=2)
    before = probe.must(contract.GET_TREE)
    status, result = client.ask(policy='', seed=4)
    assert (status, result.success, result.error_code) == (GoalStatus.STATUS_SUCCEEDED, True, 0)
    assert not result.message
    assert (result.node, result.node_step, result.policy) == (3, 2, 'climber')
    assert len(result.continuations) == 8
    won = [each for each in result.continuations if each.succeeded]
    assert 0 < len(won) == result.successes < 8
    assert result.success_share == len(won) / 8
    assert (result.share_low, result.share_high) == wilson(len(won), 8)
    for each in result.continuations:
        assert each.steps == (each.steps_to_success if each.succeeded else 15)
        assert each.fidelity == 1.0
        assert each.success == float(each.succeeded)
        assert each.best_progress >= each.progress
        assert each.succeeded == (each.best_progress > probe.task.success_above)
    assert result.steps == 15
    # Feedback that comes after the result is dropped by the client: the newest may be missing.
    told = [each.steps for each in client.feedback]
    assert told and told == sorted(set(told)) and told[-1] <= 15
    assert all(0 <= each.success_share <= result.success_share for each in client.feedback)
    assert {(each.horizon, each.count) for each in client.feedback} == {(15, 8)}
    after = probe.must(contract.GET_TREE)
    assert (after.node_count, after.epoch, after.head) == (before.node_count, 1, before.head)
    assert rows(client.ask(seed=4)[1]) == rows(result), 'the same again'
    assert rows(client.ask(seed=5)[1]) != rows(result)
    assert client.ask(node=1, seed=4)[1].node_step == 0


def test_the_session_goes_on_beside_it_and_a_cancel_ends_it(begin: Begin) -> None:
    rig, probe, client = begin(pace='realtime', start='running')
    handle = client.begin(**LONG)
    status, refused = client.ask()
    assert (status, refused.error_code) == (GoalStatus.STATUS_ABORTED, int(ErrorCode.BUSY))
    assert 'under way already' in refused.message
    assert not refused.continuations
    begun = probe.state.step
    probe.until_step(begun + 5)
    probe.must(contract.ROLLBACK, node=1)
    probe.must(contract.RESUME)
    probe.until(lambda: probe.state.epoch == 2 and probe.state.step > 3, 'steps after a rollback')
    assert handle.status == GoalStatus.STATUS_EXECUTING
    client.cancel(handle)
    status, result = client.end(handle)
    assert (status, result.success) == (GoalStatus.STATUS_CANCELED, False)
    assert result.error_code == int(ErrorCode.CANCELLED)
    assert f'stopped after {result.steps} of 2000 steps' in result.message
    assert len(result.continuations) == 256
    assert rig.backend.overlaps == 0, 'the backend gets one call at a time'
    assert client.ask()[0] == GoalStatus.STATUS_SUCCEEDED, 'the next one may begin'
    assert probe.state.mode == RigState.MODE_RUNNING


@pytest.mark.parametrize(
    ('goal', 'code', 'sentence'),
    [
        ({'count': 0}, ErrorCode.INVALID_ARGUMENT, '1 to 256 continuations, not 0'),
        ({'horizon': 2001}, ErrorCode.INVALID_ARGUMENT, '1 to 2000 steps, not 2001'),
        ({'seed': -1}, ErrorCode.INVALID_ARGUMENT, 'a seed is 0 or larger'),
        ({'node': 99}, ErrorCode.UNKNOWN_NODE, 'there is no node 99'),
        ({'policy': ''}, ErrorCode.INVALID_ARGUMENT, 'no policy is named'),
        ({'policy': 'nobody'}, ErrorCode.INVALID_ARGUMENT, "there is no policy 'nobody'"),
        ({'policy': 'other'}, ErrorCode.INVALID_ARGUMENT, "trained for task 'rope', not 'pusht'"),
    ],
)
def test_every_refusal_has_its_code_and_a_sentence(
    begin: Begin, goal: dict[str, Any], code: ErrorCode, sentence: str
) -> None:
    _, _, client = begin()
    status, result = client.ask(**goal)
    assert (status, result.success) == (GoalStatus.STATUS_ABORTED, False)
    assert result.error_code == int(code)
    assert sentence in result.message
    assert np.isnan(result.success_share)


def test_a_name_alone_means_no_folder(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'dangling').symlink_to('nowhere')
    monkeypatch.chdir(tmp_path)
    _, _, client = begin()
    status, result = client.ask(policy='climber')
    assert status == GoalStatus.STATUS_SUCCEEDED, result.message


def test_before_a_reset_there_is_nothing_to_continue(launch: Callable[..., LiveRig]) -> None:
    client = RolloutClient(launch(Climb, seed=-1).probe, **USUAL)
    _, result = client.ask()
    assert result.error_code == int(ErrorCode.NOT_READY)
    assert 'reset it first' in result.message
    client.destroy()


def test_a_backend_that_fails_in_it_leaves_the_session_as_it_was(begin: Begin) -> None:
    rig, probe, client = begin(pace='lockstep', start='running')
    with pytest.raises(MemoryError) as enormous:
        np.empty(2**55)
    rig.backend.error = enormous.value
    status, result = client.ask()
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, int(ErrorCode.MODEL_FAULT))
    assert 'point_mass failed in a rollout: there is no memory left' in result.message
    assert 'the session is as it was' in result.message
    assert probe.state.mode == RigState.MODE_RUNNING
    middle = (probe.task.action_low + probe.task.action_high) / 2
    probe.drive_rig(middle[None])
    assert client.ask()[0] == GoalStatus.STATUS_SUCCEEDED


def test_a_policy_that_died_or_has_other_files_is_loaded_anew(begin: Begin, tmp_path: Path) -> None:
    _, _, client = begin()
    policy = f'hosted:{tmp_path}'
    names = [client.ask(policy=policy)[1].policy for _ in range(2)]
    assert names[0] == names[1], 'nothing has changed'
    (tmp_path / 'dies').touch()
    status, result = client.ask(policy=policy)
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, int(ErrorCode.MODEL_FAULT))
    assert 'the host has ended' in result.message
    status, result = client.ask(policy=policy)
    assert status == GoalStatus.STATUS_SUCCEEDED
    names.append(result.policy)
    (tmp_path / 'model.safetensors').touch()
    names.append(client.ask(policy=policy)[1].policy)
    assert len(set(names[1:])) == 3


def test_a_rig_that_is_deactivated_ends_its_rollout_and_may_begin_another(begin: Begin) -> None:
    rig, probe, client = begin(start='running')
    client.begin(**LONG)
    probe.until(lambda: client.feedback, 'the rollout to begin')
    success = TransitionCallbackReturn.SUCCESS
    assert rig.run(rig.node.trigger_deactivate) is success
    _, result = client.ask()
    assert result.error_code in {int(ErrorCode.NOT_READY), int(ErrorCode.BUSY)}
    assert rig.run(rig.node.trigger_cleanup) is success
    probe.until(lambda: not client.served, 'the action to go')
    for trigger in (rig.node.trigger_configure, rig.node.trigger_activate):
        assert rig.run(trigger) is success
    probe.until(lambda: client.served, 'the action to come back')
    assert client.ask()[0] == GoalStatus.STATUS_SUCCEEDED


def test_a_rig_that_is_told_to_end_ends_its_rollout(
    process: Callable[..., Process], policies: Path
) -> None:
    make = (
        f'sys.path.insert(0, {str(policies)!r})\n'
        "make = lambda: RigNode('rig', lambda task, values: PointMass(task))"
    )
    with Probe() as probe, process(make, '-p', 'start:=running') as rig:
        # The point mass's scene counts as done unless its numbers are small.
        probe.until(lambda: probe.states, 'the first state')
        probe.must(contract.RESET, scene=[0.1, 0.1, 0.1, 0.1, 0.1])
        client = RolloutClient(probe, **USUAL)
        client.begin(**LONG)
        probe.until(lambda: client.feedback, 'the rollout to begin')
        rig.child.send_signal(signal.SIGINT)
        assert rig.wait() == 0
        assert 'Traceback' not in rig.text
        client.destroy()
