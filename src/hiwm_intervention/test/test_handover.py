# SPDX-License-Identifier: Apache-2.0
"""The wheel changes hands without a jump, by class of device, and to one device alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Protocol

from mux_session import MIDDLE, SETTINGS, Session, only, policy_driven
import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.action import Action, Source
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task
from hiwm_intervention.keyboard import Keyboard
from hiwm_intervention.rig_mode import Command
from hiwm_intervention.sources import Handover, MuxSettings, SourceSettings
from hiwm_intervention.takeover import Event, Phase

FloatArray = NDArray[np.float64]
KINDS = {'keys': Handover.RELATIVE, 'passive': Handover.PASSIVE, 'actuated': Handover.ACTUATED}
THREE = MuxSettings(
    {
        'policy': SETTINGS.sources['policy'],
        **{
            name: SourceSettings(name, '/operator/action', 0.5, 100 + number, kind, (name,))
            for number, (name, kind) in enumerate(KINDS.items())
        },
    },
    {},
)
TARGET = np.array([0.5, 0.05])


def taken_over(pace: Pace = Pace.REALTIME) -> Session:
    session = Session(pace, settings=THREE)
    session.drive(Event.TAKE_OVER)
    return session


# -- one device after the other --------------------------------------------------------------------


@pytest.mark.parametrize('pace', Pace)
def test_a_passive_leader_is_slid_to(pace: Pace) -> None:
    session = taken_over(pace)
    sources = []
    for _ in range(6):
        sent = only(session.propose('passive', TARGET))
        sources.append(sent.source)
        session.joints = sent.values
        assert session.mux.target is None
        session.next_step()
    assert sources == [Source.HANDOVER] * 2 + [Source.OPERATOR] * 4
    np.testing.assert_array_equal(session.joints, TARGET)
    assert session.phase is Phase.CORRECTING


def test_a_passive_leader_may_move_meanwhile() -> None:
    session = taken_over()
    leader = TARGET.copy()
    while session.phase is Phase.HANDOVER:
        leader += (-0.02, 0.01)
        session.joints = only(session.propose('passive', leader)).values
        session.next_step()
    np.testing.assert_allclose(session.joints, leader)


@pytest.mark.parametrize('pace', Pace)
def test_an_actuated_leader_is_driven_to_the_arm_which_is_held(pace: Pace) -> None:
    session = taken_over(pace)
    leader = TARGET.copy()
    steps = 0
    while session.phase is Phase.HANDOVER:
        target = session.mux.target
        assert target is not None
        np.testing.assert_array_equal(target, session.joints)
        leader += np.clip(target - leader, -0.02, 0.02)
        session.now += session.task.period
        sent = only(session.propose('actuated', leader))
        if session.phase is Phase.HANDOVER:
            assert sent.source is Source.HOLD
            assert 'driven to the arm' in session.mux.status().reason
        else:
            assert sent.source is Source.OPERATOR
            assert (np.abs(sent.values - MIDDLE) <= 0.25 * session.task.action_max_step).all()
        session.joints = sent.values
        session.next_step()
        steps += 1
    assert steps > 5
    assert session.mux.target is None


def test_a_leader_that_may_be_taken_is_driven_before_its_dead_man_is_pressed() -> None:
    session = taken_over()
    assert session.mux.target is not None
    session.propose('keys', MIDDLE)
    assert session.mux.target is None


def test_nobody_is_driven_anywhere_without_a_takeover() -> None:
    session = policy_driven(settings=THREE)
    session.propose('policy', TARGET)
    assert session.mux.target is None


def test_a_relative_device_begins_where_the_arm_is() -> None:
    session = policy_driven(settings=THREE)
    keyboard = Keyboard(session.task)
    session.joints = np.array([0.3, 0.2])
    session.mux.request(Event.TAKE_OVER, 'ada')
    session.next_step()
    sent = only(session.propose('keys', keyboard.command({'d'}, session.joints)))
    np.testing.assert_allclose(sent.values, [0.325, 0.2])
    assert session.phase is Phase.CORRECTING


# -- one device alone ------------------------------------------------------------------------------


def test_a_second_device_can_watch_and_cannot_drive() -> None:
    session = taken_over()
    only(session.propose('passive', MIDDLE))
    session.next_step()
    assert session.propose('keys', MIDDLE + 0.05) is None
    assert only(session.propose('passive', MIDDLE + 0.01)).device == 'passive'
    # Nor can it keep the wheel for the one that lets go.
    session.propose('keys', MIDDLE)
    session.propose('passive', deadman=False)
    assert session.phase is Phase.PAUSED
    assert 'let go' in session.mux.status().reason


def test_a_device_of_a_higher_priority_takes_the_seat_by_a_ramp() -> None:
    session = taken_over()
    only(session.propose('keys', MIDDLE))
    assert session.phase is Phase.CORRECTING
    session.next_step()
    sent = only(session.propose('passive', TARGET))
    assert (sent.source, sent.device) == (Source.HANDOVER, 'passive')
    assert session.phase is Phase.CORRECTING
    session.next_step()
    assert session.propose('keys', MIDDLE) is None
    session.propose('passive', deadman=False)
    assert session.phase is Phase.PAUSED


def test_the_seat_is_free_again_after_the_takeover() -> None:
    session = taken_over()
    only(session.propose('passive', MIDDLE))
    session.mux.request(Event.RELEASE, 'ada')
    session.obey()
    session.mux.request(Event.TAKE_OVER, 'grace')
    session.obey()
    session.next_step()
    assert only(session.propose('keys', MIDDLE)).device == 'keys'


# -- after a rollback under an operator's hands ----------------------------------------------------


def rolled_back() -> Session:
    session = taken_over()
    only(session.propose('passive', MIDDLE))
    session.next_step()
    assert session.phase is Phase.CORRECTING
    session.joints = np.array([0.1, 0.4])
    session.show(epoch=2, step=3, mode=Mode.PAUSED)
    assert session.phase is Phase.PAUSED
    return session


def take_over_again(session: Session) -> None:
    session.mux.request(Event.TAKE_OVER, 'ada')
    session.obey()
    assert session.rig.mode is Mode.RUNNING


def test_after_a_rollback_the_wheel_is_nobodys_and_the_arm_begins_where_it_is() -> None:
    session = rolled_back()
    session.now += 1.0
    take_over_again(session)
    sent = only(session.propose('passive', TARGET))
    assert sent.source is Source.HANDOVER
    np.testing.assert_allclose(sent.values, [0.22, 0.28])


def test_a_dead_man_that_was_held_through_a_rollback_has_to_be_let_go_first() -> None:
    session = rolled_back()
    session.propose('passive')
    take_over_again(session)
    for _ in range(3):
        session.now += 0.1
        session.next_step()
        session.propose('passive')
        assert only(session.wait(0.07)).source is Source.HOLD
        assert session.phase is Phase.HANDOVER
    session.propose('passive', deadman=False)
    assert session.phase is Phase.HANDOVER
    session.next_step()
    assert only(session.propose('passive', session.joints)).source is Source.OPERATOR


def test_a_dead_man_that_is_never_let_go_is_no_press() -> None:
    session = rolled_back()
    session.propose('passive')
    take_over_again(session)
    for _ in range(51):
        session.now += 0.1
        session.propose('passive')
    assert session.phase is Phase.PAUSED
    assert 'nobody pressed' in session.mux.status().reason


def test_a_device_that_was_silent_meanwhile_has_let_go() -> None:
    session = rolled_back()
    session.propose('passive')
    session.now += 0.6
    take_over_again(session)
    session.next_step()
    assert only(session.propose('passive', session.joints)).source is Source.OPERATOR


# -- no step is larger than the limit --------------------------------------------------------------


def test_a_hold_brings_a_lagging_arm_to_a_stand_within_the_limit() -> None:
    session = policy_driven()
    step = session.task.action_max_step
    for _ in range(4):
        session.next_step()
        sent = only(session.propose('policy', np.array([0.5, 0.25])))
    assert sent.values[0] == 0.5
    session.next_step()
    held = [only(session.wait(2.0)).values]
    session.next_step()
    held.append(only(session.wait(0.07)).values)
    np.testing.assert_allclose(held, [[0.5 - step[0], 0.25], [0.5 - 2 * step[0], 0.25]])


def test_an_arm_that_was_moved_while_it_stood_begins_where_it_is() -> None:
    session = policy_driven()
    session.next_step()
    only(session.propose('policy', np.array([0.3, 0.25])))
    session.mux.request(Event.PAUSE, '')
    session.obey()
    session.joints = np.array([0.05, 0.45])
    session.mux.request(Event.RESUME, '')
    session.sent.clear()
    session.obey()
    session.wait(0.07)
    np.testing.assert_allclose(session.sent[0].values, [0.17, 0.33])


class Device(Protocol):
    """An operator's device in the test."""

    def begin(self, joints: FloatArray) -> None:
        """It takes over."""

    def values(self, joints: FloatArray, target: FloatArray | None) -> FloatArray:
        """What it proposes now."""


class Keys:
    """Random keys, held for a while."""

    def __init__(self, task: Task, random: np.random.Generator) -> None:
        self._random = random
        self._keys = list(task.keys)
        self._keyboard = Keyboard(task)
        self._held: list[str] = []

    def begin(self, joints: FloatArray) -> None:
        self._keyboard.forget()

    def values(self, joints: FloatArray, target: FloatArray | None) -> FloatArray:
        if self._random.random() < 0.3:
            self._held = [key for key in self._keys if self._random.random() < 0.4]
        self._keyboard.advance()
        return self._keyboard.command(self._held, joints)


class Leader:
    """An arm that somebody moves, and that is driven where a target is given."""

    def __init__(self, task: Task, random: np.random.Generator, *, driven: bool) -> None:
        self._random, self._task, self._driven = random, task, driven
        self.begin(np.zeros(len(task.actions)))

    def begin(self, joints: FloatArray) -> None:
        self._pose = self._random.uniform(self._task.action_low, self._task.action_high)

    def values(self, joints: FloatArray, target: FloatArray | None) -> FloatArray:
        step = self._task.action_max_step
        if self._driven and target is not None:
            self._pose = self._pose + np.clip(target - self._pose, -0.4 * step, 0.4 * step)
        else:
            self._pose = self._pose + self._random.uniform(-0.6, 0.6, len(step)) * step
        return self._pose


class Drive:
    """A session that runs by itself: a rig whose joints follow, a restless policy, one operator."""

    def __init__(self, pace: Pace, seed: int, *, follow: tuple[float, float]) -> None:
        self.random = np.random.default_rng(seed)
        self.session = policy_driven(pace, THREE)
        self.task = self.session.task
        self.devices: dict[str, Device] = {
            'keys': Keys(self.task, self.random),
            'passive': Leader(self.task, self.random, driven=False),
            'actuated': Leader(self.task, self.random, driven=True),
        }
        self.device = 'keys'
        self.late = 0  # steps until the dead-man is pressed
        self.shares: list[float] = []  # of max_step, each executed action from the one before
        self.sources: Counter[Source] = Counter()
        self.corrected: Counter[str] = Counter()
        self._follow = follow
        self._executed: FloatArray | None = None
        self._goal = MIDDLE

    def take_over(self) -> None:
        """Some device, from the phase at hand."""
        self.device = str(self.random.choice(list(self.devices)))
        self.late = int(self.random.integers(4))
        self.session.mux.request(Event.TAKE_OVER, 'ada')
        self.session.obey()
        self.devices[self.device].begin(self.session.joints)

    def end(self) -> None:
        """The operator lets go, the session goes on somehow."""
        if self.random.random() < 0.3:
            self.session.propose(self.device, deadman=False)
        if self.session.phase in {Phase.HANDOVER, Phase.CORRECTING}:
            self.session.mux.request(Event.RELEASE, 'ada')
        self.session.obey()
        if self.session.phase is Phase.PAUSED and self.random.random() < 0.7:
            self.session.mux.request(Event.RESUME, '')
            self.session.obey()

    def step(self) -> None:
        """A step of the rig: everybody proposes, one action is executed, the joints follow."""
        session, random = self.session, self.random
        low, high = self.task.action_low, self.task.action_high
        session.now += 0.02
        self._wait()
        # What was sent to a rig that has come to a stand is not executed.
        sent, session.sent = session.sent, []
        if session.rig.mode is Mode.RUNNING:
            self._execute(sent[-1])
            session.next_step()
        if random.random() < 0.1:
            self._goal = random.uniform(low, high)
        if random.random() < 0.9:
            session.propose('policy', self._goal + random.normal(0.0, 0.01, len(low)))
        held = session.phase in {Phase.HANDOVER, Phase.CORRECTING}
        if held and self.late > 0:
            self.late -= 1
        elif held and random.random() < 0.95:
            target = session.mux.target
            session.propose(self.device, self.devices[self.device].values(session.joints, target))
            self.corrected[self.device] += session.phase is Phase.CORRECTING
        self._wait()
        session.obey()

    def _wait(self) -> None:
        """Until the step at hand is answered: by whoever speaks, or for them."""
        for seconds in (0.08, 0.5, 0.6, 1.0):
            if not self.session.sent and self.session.rig.mode is Mode.RUNNING:
                self.session.wait(seconds)

    def _execute(self, action: Action) -> None:
        if self._executed is not None:
            step = np.abs(action.values - self._executed) / self.task.action_max_step
            self.shares.append(float(step.max()))
        self._executed = action.values
        self.sources[action.source] += 1
        self.session.mux.executed(replace(action))
        follow = self.random.uniform(*self._follow)
        self.session.joints = self.session.joints + follow * (action.values - self.session.joints)


@pytest.mark.parametrize('pace', Pace)
@pytest.mark.parametrize('follow', [(1.0, 1.0), (0.3, 1.0)], ids=['exact', 'late'])
def test_no_step_exceeds_the_limit_at_1000_random_takeovers(
    pace: Pace, follow: tuple[float, float]
) -> None:
    drive = Drive(pace, seed=7, follow=follow)
    for _ in range(1000):
        for _ in range(int(drive.random.integers(1, 5))):
            drive.step()
        if drive.session.phase not in {Phase.AUTONOMOUS, Phase.PAUSED}:
            drive.end()
        drive.take_over()
        for _ in range(int(drive.random.integers(2, 16))):
            drive.step()
        drive.end()
    assert max(drive.shares) <= 1.0 + 1e-6
    assert len(drive.shares) > 5000
    for source in (Source.POLICY, Source.OPERATOR, Source.HANDOVER, Source.HOLD):
        assert drive.sources[source] > 100
    for device in KINDS:
        assert drive.corrected[device] > 100


def test_a_takeover_acts_on_the_step_at_hand() -> None:
    session = policy_driven(settings=THREE)
    session.next_step()
    session.mux.request(Event.TAKE_OVER, 'ada')
    assert session.mux.next_command() is not Command.PAUSE
    sent = only(session.propose('keys', MIDDLE))
    assert (sent.source, sent.step) == (Source.OPERATOR, session.rig.step)
