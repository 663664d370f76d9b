# SPDX-License-Identifier: Apache-2.0
"""A rig whose camera is a node of its own: how it begins, and when the camera counts as lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode, Pace, Rig
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import load_task
from hiwm_rig.live_publisher import LivePublisher
from hiwm_rig.live_stepper import FIRST_FRAME, LiveStepper
from hiwm_rig.pacing import Pacing

TASK = load_task('pusht')
FRAME = np.zeros(TASK.frame_shape, np.uint8)
TIMEOUT = 2.0
NOW = 1_700_000_000_000_000_000  # ns, when the made-up time begins


class Arm:
    """One that stands where it is."""

    refusal = ''
    faulty = False

    def __init__(self) -> None:
        self.holds = 0

    def hold(self) -> None:
        self.holds += 1

    def values(self) -> np.ndarray:
        return np.array([0.1, 0.2])

    def executed(self) -> None:
        return None

    def command(self, values: np.ndarray) -> None:
        raise AssertionError('nobody drives here')


class Topics(LivePublisher):
    """What is shown, by stamp, in made-up time."""

    def __init__(self, rig: Rig, clock: Callable[[], float]) -> None:
        self._rig = rig
        self._clock = clock  # type: ignore[assignment]
        self.seen: list[int] = []
        self.blind: list[int] = []

    def _show_at(self, stamp: Any, node: Any, seen: Any, executed: Any) -> None:
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        assert stamp_ns > max([0, *self.seen, *self.blind]), 'stamps never go back'
        (self.seen if stamp_ns == self._frame_ns else self.blind).append(stamp_ns)

    def _now_ns(self) -> int:
        return NOW + round(1e9 * self._clock())


class Live:
    """A stepper in made-up time; its first roots are refused `refusals` times.

    Without `begins` nothing begins before somebody resets it.
    """

    def __init__(self, folder: Path, refusals: int = 0, *, begins: bool = True) -> None:
        self.now = 0.0
        self.refusals = refusals
        self.begins = begins
        self.rig = Rig(TASK, RolloutTree(folder, seed=0))
        self.topics = Topics(self.rig, lambda: self.now)
        self.reported: list[str] = []
        self.stepper = LiveStepper(
            rig=self.rig,
            arm=Arm(),
            pacing=Pacing(Pace.REALTIME),
            topics=self.topics,
            camera='/image',
            camera_timeout=TIMEOUT,
            begin=self._begin,
            goes_to_start=False,
            repair=lambda: None,
            report=self.reported.append,
            clock=lambda: self.now,
        )
        self.stepper.start()

    def _begin(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise HiwmError('the arm is not well')
        if self.begins:
            self.stepper.reset(TASK.start_scene(0))

    def frame(self, late: float = 0.0) -> None:
        """The next one, so many seconds after it was taken."""
        self.now += TASK.period
        self.stepper.take_frame(FRAME, NOW + round((self.now - late) * 1e9))

    def silence(self, seconds: float) -> None:
        self.now += seconds
        self.stepper.tick()


def test_a_root_that_is_refused_is_tried_again_with_the_next_frame(tmp_path: Path) -> None:
    live = Live(tmp_path, refusals=2)
    for _ in range(2):
        live.frame()
        assert live.rig.mode is Mode.FAULT and not live.topics.seen
    live.frame()
    assert live.rig.mode is Mode.PAUSED and live.rig.head.step == 0
    assert len(live.topics.seen) == 1
    assert live.reported == ['the arm is not well'], 'said once'
    live.frame()
    assert len(live.rig.tree.nodes) == len({live.rig.head.id}), 'one root'


def test_a_camera_is_lost_after_its_timeout_and_may_start_slowly(tmp_path: Path) -> None:
    live = Live(tmp_path)
    live.silence(FIRST_FRAME - 0.1)
    assert not live.reported
    live.frame()
    live.silence(TIMEOUT - 0.1)
    assert live.rig.mode is Mode.PAUSED
    live.silence(0.2)
    assert live.rig.mode is Mode.FAULT
    assert live.reported == [
        'no frame has come from /image for 2.1 s; look to the camera, then reset the rig'
    ]
    with pytest.raises(HiwmError, match='no frame has come from /image; look to the camera first'):
        live.stepper.reset(TASK.start_scene(1))
    live.frame()
    live.stepper.reset(TASK.start_scene(1))
    assert live.rig.mode is Mode.PAUSED


@pytest.mark.parametrize('late', [0.02, 0.12, 0.9, 3600.0], ids='{} s'.format)
def test_a_camera_that_comes_back_is_seen_again(tmp_path: Path, late: float) -> None:
    """Its frames are shown late, or its clock is behind: that is no reason to be blind for ever."""
    live = Live(tmp_path)
    for _ in range(5):
        live.frame(late)
    assert len(live.topics.seen) == 5
    for _ in range(50):
        live.silence(TASK.period)
    assert live.rig.mode is Mode.FAULT and live.topics.blind
    for _ in range(3):
        live.frame(late)
        live.stepper.tick()
    assert len(live.topics.seen) > 6
    live.stepper.reset(TASK.start_scene(1))
    assert live.rig.mode is Mode.PAUSED


def test_a_session_opened_again_shows_nothing_of_before_until_it_is_reset(tmp_path: Path) -> None:
    before = Live(tmp_path)
    before.frame()
    head = before.rig.head.id
    before.rig.tree.close()
    live = Live(tmp_path, begins=False)
    assert live.rig.tree.head == head
    for _ in range(3):
        live.frame()
        live.stepper.tick()
    assert not live.topics.seen and not live.topics.blind
    for ask in (live.stepper.resume, live.stepper.pause):
        with pytest.raises(HiwmError, match='not been reset yet') as refused:
            ask()
        assert refused.value.code is ErrorCode.NOT_READY
    live.stepper.reset(TASK.start_scene(1))
    live.stepper.resume()
    live.frame()
    assert live.rig.head.parent != head and live.rig.head.epoch > before.rig.head.epoch
    assert len(live.topics.seen) == 1


def test_a_camera_whose_clock_is_set_back_is_named(tmp_path: Path) -> None:
    live = Live(tmp_path)
    for _ in range(5):
        live.frame()
    for _ in range(30):
        live.frame(late=10.0)
        live.stepper.tick()
    assert live.rig.mode is Mode.FAULT
    assert re.search(r'stamps (9\.\d|10\.0) s in the past', live.rig.message)
