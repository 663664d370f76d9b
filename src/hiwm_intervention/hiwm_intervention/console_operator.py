# SPDX-License-Identifier: Apache-2.0
"""The operator behind the page: when the held keys become an action, and when the dead-man lets go.

Protocol: a takeover engages, and the first answer re-seeds the reference from the measured joints.
From then on every new (epoch, step) of the rig gets one answer with the dead-man up, and a step
that lasts longer than a period is answered again with the keys held by then. In lockstep a person
still drives in real time: answers are a period apart. When the page's samples stop coming, or the
scene is moved, one action with the dead-man down is sent and then nothing, until the next takeover.
"""

from __future__ import annotations

from collections.abc import Iterable
import math

from hiwm_core.action import Action, Source
from hiwm_core.task import FloatArray, Task
from hiwm_intervention.keyboard import Keyboard

DEVICE = 'browser'
# In lockstep an answer may come this share of a period after the last, so that a timer's jitter
# costs no step.
EARLY = 0.9
# A step that lasts this many periods is answered again: keys pressed meanwhile count, and the mux
# hears us.
LATE = 1.5


class ConsoleOperator:
    """Liveness, engagement and answers of the page that drives.

    All times are seconds on one steady clock.

    Args:
        task: The action space and the keys.
        sample_timeout: s; samples older than this count as lost.
    """

    def __init__(self, task: Task, sample_timeout: float) -> None:
        self._task = task
        self._timeout = sample_timeout
        self._keyboard = Keyboard(task)
        self._held: frozenset[str] = frozenset()
        self._sampled = -math.inf
        self._engaged = False
        self._epoch: int | None = None
        self._step: int | None = None
        self._answered = -math.inf
        self._values: FloatArray | None = None
        self._seq = 0

    @property
    def engaged(self) -> bool:
        """Whether answers are due."""
        return self._engaged

    @property
    def held(self) -> frozenset[str]:
        """The keys that move something now."""
        return self._held if self._engaged else frozenset()

    def engage(self, now: float) -> None:
        """The page takes over: nothing is held yet, the reference begins at the measured joints."""
        self._engaged = True
        self._held = frozenset()
        self._sampled = now
        self._epoch = self._step = self._values = None
        self._answered = -math.inf
        self._keyboard.forget()

    def sample(self, keys: Iterable[str], now: float) -> None:
        """The page says which keys are down."""
        self._held = self._keyboard.known(keys)
        self._sampled = now

    def disengage(self) -> None:
        """The page does not drive any more, and that has been settled: nothing is sent."""
        self._engaged = False
        self._held = frozenset()

    def lose(self) -> None:
        """The page is gone: its next answer is the one with the dead-man down."""
        self._sampled = -math.inf

    def answer(
        self, epoch: int, step: int, joints: FloatArray, now: float, *, lockstep: bool = False
    ) -> Action | None:
        """What to send now, if anything; ask on every new state and a few times a period.

        Args:
            epoch: Of the newest state.
            step: Of the newest state.
            joints: float64 (J,), measured last.
            now: s.
            lockstep: Whether the rig waits for answers.
        """
        if not self._engaged:
            return None
        moved = self._epoch is not None and epoch != self._epoch
        if moved or now - self._sampled > self._timeout:
            self.disengage()
            values = self._values if self._values is not None and not moved else None
            if values is None:
                values = self._task.hold_action(joints)
            return self._make(values, epoch, step, deadman=False)
        new_step = (epoch, step) != (self._epoch, self._step)
        wait = (EARLY if lockstep else 0.0) if new_step else LATE
        if now - self._answered < wait * self._task.period:
            return None
        if new_step and self._step is not None:
            self._keyboard.advance()
        self._epoch, self._step = epoch, step
        self._answered = now
        self._values = self._keyboard.command(self._held, joints)
        return self._make(self._values, epoch, step, deadman=True)

    def _make(self, values: FloatArray, epoch: int, step: int, *, deadman: bool) -> Action:
        action = Action(values, Source.OPERATOR, epoch, step, DEVICE, self._seq, deadman)
        self._seq += 1
        return action
