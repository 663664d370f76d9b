# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in a rig node, and how it ends and begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import signal
import time

from hiwm_msgs.msg import RigState
from live_rig import Launch, begin, drive, target
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from test.probe import PATIENCE, watching
from test.process import Process

from hiwm_core import contract
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode
from hiwm_core.rollout_tree import JOURNAL_NAME, RolloutTree
from hiwm_rig.base_node import FAILED, REFUSED
from hiwm_rig.conversion import nanoseconds_of

SIGNALS = pytest.mark.parametrize('end', [signal.SIGINT, signal.SIGTERM], ids=['int', 'term'])
MAKE_RIG = "make = lambda: RigNode('rig', lambda task, values: PointMass(task))"


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
    stepped = probe.call(contract.STEP, count=1)
    assert stepped.error_code == int(ErrorCode.MODEL_FAULT)
    assert 'reset it or roll back first' in stepped.message
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


def test_a_node_says_where_it_stands_and_goes_on(
    process: Callable[..., Process], tmp_path: Path
) -> None:
    journal = tmp_path / JOURNAL_NAME
    with process(MAKE_RIG, '-p', f'session_dir:={tmp_path}', '-p', 'start:=running') as rig:
        until(lambda: 'is ready' in rig.text)
        rig.child.send_signal(signal.SIGUSR1)
        until(lambda: 'Current thread 0x' in rig.text and 'in spin' in rig.text)
        size = journal.stat().st_size
        until(lambda: journal.stat().st_size > size + 1000)
        assert rig.interrupt() == 0


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


@pytest.mark.parametrize(
    ('error', 'said'),
    [
        ("ValueError('a mistake')", 'ValueError: a mistake'),
        ("HiwmError('the disk is full')", 'the disk is full'),
    ],
)
def test_what_breaks_while_a_node_runs_is_no_refusal_to_start(
    process: Callable[..., Process], error: str, said: str
) -> None:
    """A session goes on without a policy that broke, and ends with one that could not start."""
    breaking = (
        'from hiwm_core.error import HiwmError\n'
        'class Breaking(Node):\n'
        '    def __init__(self):\n'
        "        super().__init__('breaking')\n"
        '        self.create_timer(0.01, self.work)\n'
        '    def work(self):\n'
        f'        raise {error}\n'
        'make = Breaking'
    )
    with process(breaking) as node:
        assert node.wait() == FAILED != REFUSED
        assert said in node.text


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
