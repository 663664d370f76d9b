# SPDX-License-Identifier: Apache-2.0
"""Faults in a whole session: the arm is held, the console says why, and nothing recorded is lost.

Real processes and real faults. The simulated arm runs in realtime and the world model in lockstep;
each has one session, whose faults come one after the other, the last of which ends it.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
from typing import Any

from bench.agreement import compare
from hiwm_msgs.msg import RigState
from playwright.sync_api import sync_playwright
import pytest

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_rig.conversion import nanoseconds_of
from test.chromium import find_chromium
from test.faulty_session import NOBODYS, FaultySession, faulty_session
from test.network import Network
from test.page_client import PageClient
from test.probe import PATIENCE
from test.process import Process
from test.rigs import MODELS
from test.small_disk import SmallDisk

SESSIONS = {'sim_arm': ('robot_session', 'realtime'), 'world_model': ('wm_session', 'lockstep')}
LATE = 2.0  # s
# The recorder stops where less than 200 MB are left.
DISK_MB, BALLAST_MB = 320, 160
SECOND = 10**9  # ns
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope='module', params=SESSIONS)
def session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultySession]:
    launch, pace = SESSIONS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    small = request.param == 'sim_arm' and SmallDisk.is_possible()
    disk = SmallDisk(folder, DISK_MB) if small else None
    with faulty_session(launch, pace, folder, disk) as session:
        yield session


def last_answer(session: FaultySession) -> tuple[int, int]:
    """Epoch and step of the policy's newest proposal."""
    newest = session.messages(contract.POLICY_ACTION)[-1]
    return newest.epoch, newest.observation_step


def check_held_without_policy(session: FaultySession, epoch: int, step: int) -> None:
    """A step that the policy has not answered is held, at the latest the one after."""
    realtime = session.probe.state.pace == RigState.PACE_REALTIME
    executed = session.executed_after(epoch, step + 1 if realtime else step)
    assert executed
    assert {each.source for each in executed} == {Source.HOLD}


def test_a_policy_that_is_two_seconds_late_is_held_for(session: FaultySession) -> None:
    probe = session.probe
    session.policy_drives()
    policy = session.node('policy')
    os.kill(policy, signal.SIGSTOP)
    try:
        probe.until(lambda: probe.mux.holding, 'the arm is held')
        epoch, step = last_answer(session)
        session.page.until_told("the source 'policy' is")
        stopped = nanoseconds_of(session.messages(contract.POLICY_ACTION)[-1].header.stamp)
        probe.until(
            lambda: (
                nanoseconds_of(probe.state.header.stamp) > stopped + LATE * SECOND
                and session.executed_after(epoch, step + 1)
            ),
            'the policy is late',
        )
        check_held_without_policy(session, epoch, step)
    finally:
        os.kill(policy, signal.SIGCONT)
    held = len(session.executed_by(Source.POLICY))
    probe.until(lambda: len(session.executed_by(Source.POLICY)) > held + 5, 'it drives again')
    # What it says too late counts for nothing: whatever was executed answers the step at hand or,
    # in realtime, the one before, and was there in time.
    proposed = {
        (each.epoch, each.observation_step): nanoseconds_of(each.header.stamp)
        for each in reversed(session.messages(contract.POLICY_ACTION))
    }
    for each in session.executed_by(Source.POLICY):
        at = each.observation_step
        stamps = [proposed.get((each.epoch, answered)) for answered in (at, at - 1)]
        assert any(
            stamp is not None and stamp < nanoseconds_of(each.header.stamp) for stamp in stamps
        ), f'step {at} was driven by an answer to an older one'


def check_let_go(session: FaultySession, begun: int) -> None:
    """Once the dead-man was said to have fallen, no step more is an operator's.

    Args:
        begun: How many proposals of operators there were before the takeover.
    """

    def said() -> list[Any]:
        return session.messages(contract.OPERATOR_ACTION)

    fallen = session.probe.until(
        lambda: next(
            (
                each
                for each in session.messages(contract.OPERATOR_ACTION)[begun:]
                if not each.deadman
            ),
            None,
        ),
        'the dead-man falls',
    )
    session.probe.until(session.is_paused, 'nobody drives')
    executed = session.executed_after(fallen.epoch, fallen.observation_step)
    assert {each.source for each in executed} <= NOBODYS
    assert session.probe.mux.operator_id == ''


def test_a_page_that_is_closed_while_it_drives_lets_go(session: FaultySession) -> None:
    with Network(session.port) as network, PageClient(session.url_at(network.port)) as page:
        begun = session.drive(lambda: page.take_over(d=1.0))
        network.drop()
        check_let_go(session, begun)
        session.page.until_told('page that drove')
    session.policy_drives()


def test_a_network_that_is_cut_lets_go_and_both_ends_say_so(session: FaultySession) -> None:
    path = find_chromium()
    with Network(session.port) as network, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox'])
        page = browser.new_page()
        page.goto(session.url_at(network.port))
        page.wait_for_selector('#frame[data-count]', timeout=PATIENCE * 1e3)

        def take_over() -> None:
            page.keyboard.up('d')
            page.keyboard.press('t')
            page.keyboard.down('d')

        begun = session.drive(take_over)
        network.cut()
        check_let_go(session, begun)
        session.page.until_told('page that drove')
        page.wait_for_selector('body[data-phase=offline]', timeout=PATIENCE * 1e3)
        assert page.inner_text('#who') == 'Not connected'
        network.mend()
        page.wait_for_selector('body[data-phase=paused]', timeout=PATIENCE * 1e3)
        browser.close()
    session.policy_drives()


@pytest.mark.parametrize('session', ['world_model'], indirect=True)
def test_a_world_model_that_is_killed_comes_back(session: FaultySession) -> None:
    probe, page = session.probe, session.page
    session.policy_drives()
    os.kill(session.node('world_model'), signal.SIGKILL)
    page.until_told('the rig is silent')
    before = probe.state
    known = len(session.messages(contract.RIG_EXECUTED))
    assert 'world model was ended by SIGKILL; it is started again' in session.process.text
    session.starts(*contract.RIG_TOPICS, contract.DIAGNOSTICS)
    page.until_told('The rig was gone for')
    back = probe.until(
        lambda: probe.state if session.is_paused() and not probe.state.context else None,
        'it has come back, and nobody drives',
    )
    # A node is in the tree before it is shown: the last one may be new.
    assert (back.branch, back.epoch) == (before.branch, before.epoch + 1)
    assert back.node - before.node in {0, 1}
    assert len(session.messages(contract.RIG_EXECUTED)) == known, 'nothing was done meanwhile'
    session.policy_drives()
    assert probe.state.node > back.node


def test_a_policy_that_dies_is_held_for_and_can_be_started_again(
    session: FaultySession, tmp_path: Path
) -> None:
    probe, page = session.probe, session.page
    session.policy_drives()
    os.kill(session.node('policy'), signal.SIGKILL)
    probe.until(lambda: probe.mux.holding, 'the arm is held')
    page.until(lambda: 'is silent' in page.view['mux']['reason'], 'the page says who is silent')
    epoch, step = last_answer(session)
    probe.until(lambda: session.executed_after(epoch, step + 1), 'time goes on')
    check_held_without_policy(session, epoch, step)
    assert 'the policy has ended' in session.process.text
    # A person drives, and then the policy that was started again.
    session.drive(lambda: page.take_over(a=1.0))
    page.let_go()
    page.ask('release')
    probe.until(session.is_paused, 'the wheel is let go')
    command = ['ros2', 'run', 'hiwm_policy', 'policy', '--ros-args', '-p']
    with Process([*command, f'policy:={MODELS / "policy"}'], tmp_path / 'policy'):
        session.starts(contract.POLICY_ACTION, contract.DIAGNOSTICS)
        session.policy_drives()
        session.be_found()
        session.policy_drives()
        page.must('pause')
        probe.until(session.is_paused, 'nobody drives')


@pytest.mark.parametrize('session', ['sim_arm'], indirect=True)
def test_a_disk_that_is_full_ends_the_session_with_all_that_was_written(
    session: FaultySession,
) -> None:
    probe, page = session.probe, session.page
    if session.disk is None:
        pytest.skip('no disk may be mounted here')
    session.drive(lambda: page.take_over(w=1.0))
    session.disk.fill(session.node('recorder'), BALLAST_MB)
    fault = probe.until(
        lambda: next(
            (each for each in session.messages(contract.RECORDER_STATE) if each.message), None
        ),
        'the recorder fails',
    )
    stopped = probe.until(
        lambda: next(
            (
                each
                for each in session.messages(contract.MUX_STATE)
                if 'the recording has failed' in each.reason
            ),
            None,
        ),
        'the multiplexer stops',
    )
    assert not fault.recording
    page.until_told(fault.message)
    page.until_told('the recording has failed')
    assert session.process.wait() != 0
    assert 'Traceback' not in session.process.text
    assert session.process.left_behind() == []
    executed = session.executed_after(stopped.epoch, stopped.step)
    assert {each.source for each in executed} <= NOBODYS
    session.check_record(until=nanoseconds_of(fault.header.stamp) - SECOND)
    report = json.loads((session.folder / 'report.json').read_text())
    assert report['lost_messages'] == 0, report


@pytest.mark.parametrize('session', ['world_model'], indirect=True)
def test_nothing_was_lost_in_all_these_faults(session: FaultySession) -> None:
    assert session.process.interrupt() == 0, session.process.text
    assert session.process.left_behind() == []
    session.check_record()
    report = json.loads((session.folder / 'report.json').read_text())
    assert report['lost_messages'] == 0, session.process.text
    agreement = compare(session.folder / 'bag', session.folder, session.probe.task)
    assert agreement.differences == 0, agreement.examples
