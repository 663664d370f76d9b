# SPDX-License-Identifier: Apache-2.0
"""How a person sets up a start where nothing can be set up by itself.

A physical rig begins anew from whatever its camera shows. So a start that is asked for is first
shown: where each body is to lie, over the live picture, and for how long it has been waited. When
the person says that all is ready, the rig is reset, and what the camera shows then is the root.

A reset that somebody else asked of the rig is shown in the same way. Its root is of the scene as it
was; the one that follows takes its place.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from hiwm_core.rig import Mode
from hiwm_core.task import Task
from hiwm_intervention.console_marks import bodies_of
from hiwm_intervention.console_report import RigReport


class Stage(Enum):
    """Where the guide stands."""

    OFF = 'off'
    SHOWN = 'shown'
    PLACING = 'placing'  # the rig is being reset


class Step(Enum):
    """What happens to it."""

    WANTED = 'wanted'  # a start is asked for
    READY = 'ready'  # the person has set it up
    PLACED = 'placed'  # the rig has begun anew
    REFUSED = 'refused'  # the rig has not
    LEFT = 'left'  # cancelled, or overtaken by what the rig does


# What is not here is ignored: the rig's own word of a reset that is being placed, for one.
TABLE: dict[tuple[Stage, Step], Stage] = {
    (Stage.OFF, Step.WANTED): Stage.SHOWN,
    (Stage.SHOWN, Step.WANTED): Stage.SHOWN,
    (Stage.SHOWN, Step.READY): Stage.PLACING,
    (Stage.SHOWN, Step.LEFT): Stage.OFF,
    (Stage.PLACING, Step.PLACED): Stage.OFF,
    (Stage.PLACING, Step.REFUSED): Stage.SHOWN,
}


class ResetGuide:
    """The guide of one session.

    Args:
        task: Whose starts are set up.

    Attributes:
        stage: Where it stands.
        seed: Of the start that is being set up.
    """

    def __init__(self, task: Task) -> None:
        self.stage = Stage.OFF
        self.seed = 0
        self._task = task
        self._bodies: list[dict[str, Any]] = []
        self._began = 0.0
        self._epoch = 0
        self._placed = 0  # the root of the newest start
        self._asked = False  # by a page, and not seen on the graph
        self._stood = False  # whether the rig stands still for it

    def ask(self, seed: int, epoch: int, now: float) -> None:
        """A page wants a start; `epoch` is the rig's."""
        self._show(seed, epoch, now, asked=True)

    def see_reset(self, seed: int, node: int, epoch: int, now: float) -> None:
        """The rig has been reset to a start, with this root."""
        if seed >= 0 and node != self._placed:
            self._show(seed, epoch, now, asked=False)

    def _show(self, seed: int, epoch: int, now: float, *, asked: bool) -> None:
        if self._take(Step.WANTED):
            self.seed = seed
            scene = self._task.start_scene(seed)
            self._bodies = bodies_of(
                self._task, dict(zip(self._task.scene_names, map(float, scene), strict=True))
            )
            self._began, self._epoch = now, epoch
            self._asked, self._stood = asked, False

    def see_rig(self, report: RigReport) -> None:
        """What the rig shows may have overtaken the guide."""
        if report.can_rollback:
            self._take(Step.LEFT)
        if report.epoch < self._epoch:
            return
        # A start that a page asked for begins in the midst of a run, which is being paused.
        running = report.mode == Mode.RUNNING
        over = self._stood if self._asked else True
        moved_on = (running and over) or (report.step > 0 and not self._asked)
        self._stood = self._stood or not running
        if report.epoch > self._epoch or moved_on:
            self._take(Step.LEFT)

    def place(self) -> bool:
        """The person is ready; returns whether the rig is to be reset now."""
        return self._take(Step.READY)

    def settle(self, node: int) -> None:
        """The rig has answered: its new root, or 0 if it refused."""
        if self._take(Step.PLACED if node else Step.REFUSED) and node:
            self._placed = node

    def leave(self) -> bool:
        """Nobody sets anything up any more; returns whether somebody did."""
        return self._take(Step.LEFT)

    def seconds(self, now: float) -> float:
        """How long it has been shown."""
        return now - self._began

    @property
    def what(self) -> str:
        """What the person is to do, as the beginning of a sentence."""
        names = [body['name'] for body in self._bodies]
        if not names:
            return 'Lay the scene out'
        if len(names) == 1:
            return f'Lay {names[0]} on its outline'
        return f'Lay {", ".join(names[:-1])} and {names[-1]} on their outlines'

    @property
    def sentence(self) -> str:
        """The whole of it."""
        return f'{self.what}, take your hands away, then press Ready.'

    def tell(self, now: float) -> dict[str, Any] | None:
        """For the page; None: there is nothing to set up."""
        if self.stage is Stage.OFF:
            return None
        return {
            'seed': self.seed,
            'seconds': int(self.seconds(now)),
            'placing': self.stage is Stage.PLACING,
            'what': f'{self.what}.',
            'sentence': self.sentence,
            'bodies': self._bodies,
        }

    def _take(self, step: Step) -> bool:
        after = TABLE.get((self.stage, step))
        if after is not None:
            self.stage = after
        return after is not None
