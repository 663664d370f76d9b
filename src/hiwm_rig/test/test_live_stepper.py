# SPDX-License-Identifier: Apache-2.0
"""A rig whose camera is a node of its own: how it begins, and when the camera counts as lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hiwm_core.error import HiwmError
from hiwm_core.rig import Mode, Pace, Rig
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import load_task
from hiwm_rig.live_stepper import FIRST_FRAME, LiveStepper
from hiwm_rig.pacing import Pacing

TASK = load_task('pusht')
FRAME = np.zeros(TASK.frame_shape, np.uint8)
TIMEOUT = 2.0


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


class Topics:
    """What is shown, by stamp."""

    def __init__(self) -> None:
        self.stamps: list[int] = []

    def is_new(self, stamp: int) -> bool:
        return not self.stamps or stamp > self.stamps[-1]

    def note_frame(self) -> None:
        pass

    def show_head(self) -> None:
        pass

    def show_seen(self, node: Any, seen: Any, stamp: int, executed: Any) -> None:
        self.stamps.append(stamp)


class Live:
    """A stepper in made-up time; its first roots are refused `refusals` times."""

    def __init__(self, folder: Path, refusals: int = 0) -> None:
        self.now = 0.0
        self.refusals = refusals
        self.rig = Rig(TASK, RolloutTree(folder, seed=0))
        self.topics = Topics()
        self.reported: list[str] = []
        self.stepper = LiveStepper(
            rig=self.rig,
            arm=Arm(),
            pacing=Pacing(Pace.REALTIME),
            topics=self.topics,  # type: ignore[arg-type]
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
        self.stepper.reset(TASK.start_scene(0))

    def frame(self) -> None:
        self.now += TASK.period
        self.stepper.take_frame(FRAME, round(self.now * 1e9))

    def silence(self, seconds: float) -> None:
        self.now += seconds
        self.stepper.tick()


def test_a_root_that_is_refused_is_tried_again_with_the_next_frame(tmp_path: Path) -> None:
    live = Live(tmp_path, refusals=2)
    for _ in range(2):
        live.frame()
        assert live.rig.mode is Mode.FAULT and not live.topics.stamps
    live.frame()
    assert live.rig.mode is Mode.PAUSED and live.rig.head.step == 0
    assert len(live.topics.stamps) == 1
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
