# SPDX-License-Identifier: Apache-2.0
"""The rig's bookkeeping: epochs, which action is executed when, rollbacks, branches and faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from point_mass import PointMass
import pytest

from hiwm_core.action import Action, Source
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.rig import Mode, Rig, StepRequest
from hiwm_core.rollout_tree import JOURNAL_NAME, Label, Node, RolloutTree
from hiwm_core.task import Task, load_task


class Bench:
    """A rig with its backend, driven by hand."""

    def __init__(self, task: Task, folder: Path, seed: int = 3) -> None:
        self.task = task
        self.backend = PointMass(task)
        self.tree = RolloutTree(folder, seed)
        self.rig = Rig(task, self.tree)

    def reset(self, seed: int = 0) -> Node:
        scene = self.task.start_scene(seed)
        key = self.tree.root_key(scene)
        return self.rig.reset(first_observation(self.backend, scene, key), key)

    def action(self, number: float, *, step: int | None = None, epoch: int | None = None) -> Action:
        """An action within the limits, different for every number, for the head by default."""
        spread = np.linspace(0.2, 0.8, len(self.task.actions))
        values = self.task.action_low + (self.task.action_high - self.task.action_low) * (
            spread + 0.1 * np.sin(number)
        )
        return Action(
            values,
            Source.OPERATOR,
            self.tree.epoch if epoch is None else epoch,
            self.rig.head.step if step is None else step,
            'script',
            int(number),
        )

    def step(self) -> Node | None:
        """One step with whatever action has come."""
        request = self.rig.begin_step()
        return self.rig.finish_step(request, self.compute(request))

    def compute(self, request: StepRequest) -> Observation:
        """The result of a step."""
        return next_observation(
            self.backend, request.observation, request.action.values, request.key
        )

    def drive(self, *numbers: float) -> list[Node]:
        """One step for each action."""
        nodes = []
        for number in numbers:
            assert self.rig.receive(self.action(number))
            node = self.step()
            assert node is not None
            nodes.append(node)
        return nodes

    def pictures(self, nodes: list[Node]) -> list[tuple[bytes, bytes]]:
        seen = [self.tree.observation(node.id) for node in nodes]
        return [(each.frame.tobytes(), each.joints.tobytes()) for each in seen]


@pytest.fixture
def make_bench(tmp_path: Path, task: Task) -> Iterator[Callable[..., Bench]]:
    """Makes benches; the one before is closed."""
    made: list[Bench] = []

    def make(folder: str = 'session', of: Task = task) -> Bench:
        for bench in made:
            bench.tree.close()
        made.append(Bench(of, tmp_path / folder))
        return made[-1]

    yield make
    for bench in made:
        bench.tree.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """A rig after a reset."""
    bench = make_bench()
    bench.reset()
    return bench


# -- before the first reset ----------------------------------------------------------------------


@pytest.mark.parametrize(
    'ask',
    [
        lambda rig: rig.head,
        lambda rig: rig.observation,
        lambda rig: rig.pause(),
        lambda rig: rig.resume(),
        lambda rig: rig.begin_step(),
        lambda rig: rig.fork(),
        lambda rig: rig.rollback(steps=1),
        lambda rig: rig.save_checkpoint('a'),
        lambda rig: rig.label('', 1, ''),
        lambda rig: rig.context_nodes(4),
    ],
)
def test_nothing_works_before_a_reset(
    make_bench: Callable[..., Bench], ask: Callable[[Rig], object]
) -> None:
    rig = make_bench().rig
    with pytest.raises(HiwmError, match='not been reset yet; reset it first') as error:
        ask(rig)
    assert error.value.code is ErrorCode.NOT_READY
    assert rig.mode is Mode.PAUSED


def test_an_action_before_a_reset_is_dropped(make_bench: Callable[..., Bench]) -> None:
    rig = make_bench().rig
    assert not rig.receive(Action(np.zeros(14), Source.POLICY, 0, 0))
    assert rig.dropped_actions == 1


# -- epochs --------------------------------------------------------------------------------------


def test_every_discontinuity_raises_the_epoch_and_pauses(bench: Bench) -> None:
    rig = bench.rig
    bench.drive(1, 2, 3)
    rig.save_checkpoint('here', 2)
    for move in (
        lambda: bench.reset(1),
        lambda: rig.rollback(node=3),
        lambda: rig.rollback(checkpoint='here'),
        lambda: rig.rollback(steps=1),
        rig.fork,
        lambda: rig.fork(node=2, name='mine', resample=True),
    ):
        epoch = bench.tree.epoch
        rig.resume()
        move()
        assert bench.tree.epoch == epoch + 1
        assert rig.mode is Mode.PAUSED


def test_steps_pauses_labels_and_checkpoints_leave_the_epoch(bench: Bench) -> None:
    bench.drive(1, 2)
    bench.rig.resume()
    bench.rig.pause()
    bench.rig.label('', Label.SUCCESS, '')
    bench.rig.save_checkpoint('a')
    assert bench.tree.epoch == 1


def test_an_action_for_another_epoch_is_dropped_and_counted(bench: Bench) -> None:
    bench.drive(1, 2)
    stale = bench.action(3)
    bench.rig.rollback(steps=1)
    assert not bench.rig.receive(stale)
    assert not bench.rig.receive(bench.action(3, epoch=bench.tree.epoch + 1))
    assert bench.rig.dropped_actions == 2
    assert bench.rig.begin_step().action.source is Source.HOLD


def test_an_action_waiting_at_a_discontinuity_is_forgotten(bench: Bench) -> None:
    for move in (lambda: bench.rig.rollback(node=1), bench.rig.fork, bench.reset):
        bench.rig.receive(bench.action(1))
        assert bench.rig.answered
        move()
        assert not bench.rig.answered
        assert bench.rig.begin_step().action.source is Source.HOLD


# -- which action is executed --------------------------------------------------------------------


def test_an_action_is_held_for_one_period_and_then_the_position_is(bench: Bench) -> None:
    sent = bench.action(5)
    bench.rig.receive(sent)
    nodes = [bench.step(), bench.step()]
    for node in nodes:
        assert node is not None
        assert node.source is Source.OPERATOR
        assert np.array_equal(bench.tree.action(node.id), sent.values)
    held = bench.step()
    assert held is not None
    assert held.source is Source.HOLD
    measured = bench.tree.observation(3).joints
    assert np.array_equal(bench.tree.action(held.id), bench.task.hold_action(measured))


def test_the_executed_action_says_what_it_answered_and_who_sent_it(bench: Bench) -> None:
    bench.rig.receive(bench.action(5))
    bench.step()
    executed = bench.rig.begin_step().action
    assert (executed.epoch, executed.step, executed.device, executed.seq) == (1, 0, 'script', 5)
    bench.step()
    hold = bench.rig.begin_step().action
    assert (hold.source, hold.epoch, hold.step, hold.device) == (Source.HOLD, 1, 2, '')


def test_a_step_is_answered_only_by_an_action_for_it(bench: Bench) -> None:
    rig = bench.rig
    bench.drive(1, 2)
    assert not rig.answered
    assert not rig.receive(bench.action(3, step=1))
    assert rig.receive(bench.action(3, step=2))
    assert rig.receive(bench.action(4, step=2)), 'the newest for the step'
    assert rig.receive(bench.action(5, step=1)), 'a late one does not take its place'
    assert rig.begin_step().action.seq == 4
    bench.step()
    assert not rig.answered


def test_an_action_for_a_step_that_was_never_shown_is_dropped(bench: Bench) -> None:
    assert not bench.rig.receive(bench.action(1, step=10_000))
    assert bench.rig.dropped_actions == 1
    for _ in range(3):
        node = bench.step()
        assert node is not None
        assert node.source is Source.HOLD


def test_what_is_executed_lies_within_the_limits(bench: Bench) -> None:
    wild = replace(bench.action(1), values=np.full(14, 50.0))
    bench.rig.receive(wild)
    node = bench.step()
    assert node is not None
    assert np.array_equal(bench.tree.action(node.id), bench.task.action_high)
    assert bench.rig.executed_actions == 1


def test_resuming_forgets_what_was_sent_before_and_running_on_does_not(bench: Bench) -> None:
    bench.rig.receive(bench.action(1))
    bench.rig.resume()
    assert not bench.rig.answered
    bench.rig.receive(bench.action(2))
    bench.rig.resume()
    assert bench.rig.answered
    assert bench.rig.pause() == 0
    assert bench.rig.pause() == 0
    assert bench.rig.answered


def test_rejected_actions_are_counted(bench: Bench) -> None:
    bench.rig.reject()
    assert (bench.rig.rejected_actions, bench.rig.dropped_actions) == (1, 0)


# -- the same again ------------------------------------------------------------------------------


def test_the_same_actions_from_a_node_give_the_same_observations(bench: Bench) -> None:
    bench.drive(1, 2)
    there = bench.pictures(bench.drive(3, 4, 5))
    bench.rig.rollback(steps=3)
    assert bench.pictures(bench.drive(3, 4, 5)) == there
    bench.rig.rollback(steps=3)
    other = bench.pictures(bench.drive(3, 9, 5))
    assert other[0] == there[0]
    assert other[1] != there[1]


def test_a_branch_repeats_unless_it_is_resampled(bench: Bench) -> None:
    fork = bench.drive(1, 2)[-1]
    there = bench.pictures(bench.drive(3, 4))
    bench.rig.fork(node=fork.id)
    assert bench.pictures(bench.drive(3, 4)) == there
    drawn = []
    for _ in range(3):
        bench.rig.fork(node=fork.id, resample=True)
        drawn.append(bench.pictures(bench.drive(3, 4)))
    assert len({there[0], *(pictures[0] for pictures in drawn)}) == 4
    # A step of a resampled branch can be repeated like any other.
    bench.rig.rollback(steps=1)
    assert bench.pictures(bench.drive(4)) == drawn[-1][1:]


def test_another_process_repeats_a_session(make_bench: Callable[..., Bench]) -> None:
    def session(folder: str) -> list[tuple[bytes, bytes]]:
        bench = make_bench(folder)
        bench.reset(bench.rig.draw_seed())
        bench.drive(1, 2)
        bench.rig.fork(node=2, resample=True)
        bench.drive(5)
        bench.reset(bench.rig.draw_seed())
        bench.drive(6)
        return bench.pictures(list(bench.tree.nodes.values()))

    assert session('a') == session('b')


def test_drawn_seeds_differ(bench: Bench) -> None:
    seeds = []
    for _ in range(20):
        seeds.append(bench.rig.draw_seed())
        bench.reset(seeds[-1])
    assert len(set(seeds)) == 20


# -- the tree ------------------------------------------------------------------------------------


def test_stepping_from_a_node_with_a_future_makes_a_branch(bench: Bench) -> None:
    old = bench.drive(1, 2, 3)
    bench.rig.rollback(steps=2)
    assert bench.rig.branch == 'run-1'
    assert list(bench.tree.branches) == ['run-1'], 'looking back alone makes none'
    new = bench.drive(7, 8)
    assert bench.rig.branch == 'branch-1'
    assert [node.branch for node in new] == ['branch-1'] * 2
    assert bench.tree.branch('run-1').head == old[-1].id
    assert bench.tree.branch('branch-1').fork == old[0].id
    assert [node.parent for node in new] == [old[0].id, new[0].id]
    # At the end of a branch it goes on, without another one.
    bench.rig.rollback(node=old[-1].id)
    bench.drive(4)
    assert list(bench.tree.branches) == ['run-1', 'branch-1']


def test_a_fork_is_continued_where_it_was_made(bench: Bench) -> None:
    bench.drive(1, 2, 3)
    branch = bench.rig.fork(node=2, name='mine')
    assert (branch.name, branch.fork, bench.rig.head.id) == ('mine', 2, 2)
    assert bench.drive(4)[0].branch == 'mine'
    assert bench.rig.fork().name == 'branch-1'
    with pytest.raises(HiwmError, match="a branch 'mine' exists already") as error:
        bench.rig.fork(name='mine')
    assert error.value.code is ErrorCode.NAME_TAKEN
    with pytest.raises(HiwmError, match='no node 99'):
        bench.rig.fork(node=99)
    assert bench.rig.branch == 'branch-1'


def test_a_result_that_the_scene_has_left_behind_is_dropped(bench: Bench) -> None:
    bench.drive(1, 2)
    for move in (lambda: bench.rig.rollback(steps=1), bench.rig.fork, bench.reset):
        request = bench.rig.begin_step()
        observation = bench.compute(request)
        move()
        before = (bench.tree.head, len(bench.tree.nodes), len(bench.tree.branches))
        assert bench.rig.finish_step(request, observation) is None
        assert (bench.tree.head, len(bench.tree.nodes), len(bench.tree.branches)) == before
    # Two results for one step: the first counts.
    requests = [bench.rig.begin_step(), bench.rig.begin_step()]
    assert bench.rig.finish_step(requests[0], observation) is not None
    assert bench.rig.finish_step(requests[1], observation) is None


def test_a_step_goes_on_from_the_head(bench: Bench) -> None:
    for number in range(3):
        assert bench.rig.begin_step().observation is bench.rig.observation
        bench.drive(number)
    assert [node.step for node in bench.rig.context_nodes(3)] == [1, 2, 3]
    assert [node.step for node in bench.rig.context_nodes(9)] == [0, 1, 2, 3]


# -- rollbacks -----------------------------------------------------------------------------------


def test_a_rollback_goes_to_a_node_a_checkpoint_or_back(bench: Bench) -> None:
    bench.drive(1, 2, 3, 4)
    bench.rig.save_checkpoint('here')
    assert bench.rig.rollback(steps=4).id == 1
    assert bench.rig.rollback(checkpoint='here').id == 5
    assert bench.rig.rollback(node=3).id == 3
    assert bench.rig.head.id == 3


@pytest.mark.parametrize(
    ('where', 'code', 'sentence'),
    [
        ({}, ErrorCode.INVALID_ARGUMENT, 'exactly one of a node, a checkpoint, or a number'),
        ({'node': 1, 'steps': 1}, ErrorCode.INVALID_ARGUMENT, 'exactly one'),
        ({'node': 1, 'checkpoint': 'a'}, ErrorCode.INVALID_ARGUMENT, 'exactly one'),
        ({'node': 1, 'checkpoint': 'a', 'steps': 1}, ErrorCode.INVALID_ARGUMENT, 'exactly one'),
        ({'steps': 3}, ErrorCode.INVALID_ARGUMENT, '3 steps is too far: the head is 2 steps from'),
        ({'steps': 2**32 - 1}, ErrorCode.INVALID_ARGUMENT, 'is too far'),
        ({'node': 4}, ErrorCode.UNKNOWN_NODE, 'no node 4; the tree has nodes 1 to 3'),
        ({'checkpoint': 'b'}, ErrorCode.UNKNOWN_CHECKPOINT, "no checkpoint 'b'"),
    ],
)
def test_a_refused_rollback_changes_nothing(
    bench: Bench, where: dict[str, object], code: ErrorCode, sentence: str
) -> None:
    bench.drive(1, 2)
    bench.rig.resume()
    with pytest.raises(HiwmError) as error:
        bench.rig.rollback(**where)  # type: ignore[arg-type]
    assert error.value.code is code
    assert sentence in error.value.message
    assert (bench.rig.head.id, bench.tree.epoch, bench.rig.mode) == (3, 1, Mode.RUNNING)


def test_labels_are_checked(bench: Bench) -> None:
    assert bench.rig.label('', 2, 'slipped').label is Label.FAILURE
    assert bench.rig.label('run-1', 1, '').name == 'run-1'
    with pytest.raises(HiwmError, match=r'a label is 0 \(none\).*, not 4'):
        bench.rig.label('', 4, '')
    with pytest.raises(HiwmError, match="no branch 'x'"):
        bench.rig.label('x', 1, '')


# -- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize('mend', ['rollback', 'fork', 'reset'])
def test_a_fault_stands_still_until_the_scene_is_moved(bench: Bench, mend: str) -> None:
    bench.drive(1)
    bench.rig.resume()
    bench.rig.fail('the model melted')
    assert (bench.rig.mode, bench.rig.message) == (Mode.FAULT, 'the model melted')
    with pytest.raises(HiwmError, match=r'after a fault .the model melted.; reset it') as error:
        bench.rig.resume()
    assert error.value.code is ErrorCode.MODEL_FAULT
    bench.rig.pause()
    assert bench.rig.mode is Mode.FAULT, 'a pause mends nothing'
    mends: dict[str, Callable[[], object]] = {
        'rollback': lambda: bench.rig.rollback(node=2),
        'fork': bench.rig.fork,
        'reset': bench.reset,
    }
    mends[mend]()
    assert (bench.rig.mode, bench.rig.message) == (Mode.PAUSED, '')
    bench.rig.resume()
    bench.drive(2)


def shape_of(observation: Observation, **changed: NDArray[np.generic]) -> Observation:
    return replace(observation, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        ({'frame': np.zeros((24, 31, 3), np.uint8)}, r'a frame \(24, 31, 3\) of uint8'),
        ({'frame': np.zeros((24, 32, 3))}, r'a frame \(24, 32, 3\) of float64'),
        ({'joints': np.zeros(13)}, '14 finite numbers is needed'),
        ({'joints': np.full(14, np.nan)}, '14 finite numbers is needed'),
        ({'scene': np.zeros(16)}, r'a scene of shape \(16,\); 17 numbers or none'),
    ],
)
def test_an_observation_that_is_not_the_tasks_is_refused(
    bench: Bench, changed: dict[str, NDArray[np.generic]], sentence: str
) -> None:
    request = bench.rig.begin_step()
    observation = bench.compute(request)
    with pytest.raises(HiwmError, match=sentence) as error:
        bench.rig.finish_step(request, shape_of(observation, **changed))
    assert error.value.code is ErrorCode.MODEL_FAULT
    with pytest.raises(HiwmError, match=sentence):
        bench.rig.reset(shape_of(observation, **changed), 1)
    assert (len(bench.tree.nodes), bench.tree.epoch) == (1, 1)


def test_single_precision_from_a_network_is_stored_as_it_will_be_read(
    bench: Bench, make_bench: Callable[..., Bench]
) -> None:
    request = bench.rig.begin_step()
    exact = bench.compute(request)
    single = shape_of(
        exact,
        joints=exact.joints.astype(np.float32),
        scene=exact.scene.astype(np.float32),
        progress=np.float32(exact.progress),
        fidelity=np.float32(0.1),
    )
    bench.rig.finish_step(request, single)
    now = bench.rig.observation
    assert now.joints.dtype == np.float64
    then = make_bench().rig.observation
    assert then.joints.tobytes() == now.joints.tobytes()
    assert then.scene.tobytes() == now.scene.tobytes()
    assert (then.progress, then.fidelity) == (now.progress, now.fidelity)


# -- reopening -----------------------------------------------------------------------------------


def test_a_reopened_session_goes_on_bit_for_bit(make_bench: Callable[..., Bench]) -> None:
    through = make_bench('a')
    through.reset()
    expected = through.pictures(through.drive(*range(6)))
    first = make_bench('b')
    first.reset()
    seen = first.pictures(first.drive(0, 1, 2))
    second = make_bench('b')
    assert second.rig.mode is Mode.PAUSED
    seen += second.pictures(second.drive(3, 4, 5))
    assert seen == expected


def test_an_empty_branch_is_still_the_one_to_go_on_after_reopening(
    bench: Bench, make_bench: Callable[..., Bench]
) -> None:
    bench.drive(1, 2)
    bench.rig.fork(name='mine', resample=True)
    expected = bench.tree.step_key(3, 'mine')
    again = make_bench()
    assert again.rig.branch == 'mine'
    assert again.rig.begin_step().key == expected
    assert again.drive(3)[0].branch == 'mine'


def test_a_session_of_another_task_is_refused(
    bench: Bench, make_bench: Callable[..., Bench], tmp_path: Path
) -> None:
    bench.drive(1)
    content = (tmp_path / 'session' / JOURNAL_NAME).read_bytes()
    with pytest.raises(HiwmError, match="tree is not one of task 'pusht'"):
        make_bench('session', load_task('pusht'))
    assert (tmp_path / 'session' / JOURNAL_NAME).read_bytes() == content


@pytest.mark.parametrize('how', ['silence', 'a hold', 'a hold after a rollback'])
def test_a_hold_does_not_let_go_of_what_is_gripped(
    make_bench: Callable[..., Bench], task: Task, how: str
) -> None:
    """The thing in the gripper stops it short of what is commanded: the difference is the grip."""
    grips = tuple(replace(one, grips=one.name.endswith('gripper')) for one in task.actions)
    gripping = np.array([one.grips for one in grips])
    bench = make_bench('grip', replace(task, actions=grips))
    bench.reset()
    bench.rig.resume()
    bench.drive(1.0, 2.0, 3.0)
    if how == 'a hold after a rollback':
        bench.rig.rollback(steps=1)
        bench.rig.resume()
    commanded = bench.tree.action(bench.rig.head.id)
    measured = task.hold_action(bench.rig.observation.joints)
    assert (commanded[gripping] != measured[gripping]).all()
    if how == 'silence':
        bench.step()
    else:
        head = bench.rig.head
        bench.rig.receive(Action(measured, Source.HOLD, bench.tree.epoch, head.step))
    node = bench.step()
    assert node is not None and node.source is Source.HOLD
    held = bench.tree.action(node.id)
    np.testing.assert_array_equal(held[gripping], commanded[gripping])
    assert gripping.sum() == 2
