# SPDX-License-Identifier: Apache-2.0
"""The operator behind the page: when what they hold becomes an action, and when the dead-man falls.

Protocol: a takeover engages, and the first answer re-seeds the reference from the measured joints.
From then on every new (epoch, step) of the rig gets one answer with the dead-man up, and a step
that lasts longer than a period is answered again with what is held by then: at once, if a motion
begins in it, for time may stand still until then. In lockstep a person still drives in real time:
answers are a period apart. When the page's samples stop coming, its device's dead-man is let go, or
the scene is moved, one action with the dead-man down is sent and then nothing, until the next
takeover.
"""

from __future__ import annotations

import math

from hiwm_core.action import Action, Source
from hiwm_core.task import FloatArray, Task
from hiwm_intervention.console_drag import Drag
from hiwm_intervention.console_latency import InputLog
from hiwm_intervention.console_protocol import DEVICES, Hold
from hiwm_intervention.keyboard import Keyboard

DEVICE = DEVICES[0]
# In lockstep an answer may come this share of a period after the last, so that a timer's jitter
# costs no step.
EARLY = 0.9
# A step that lasts this many periods is answered again: keys pressed meanwhile count, and the mux
# hears us.
LATE = 1.5
NOTHING = Hold()


class ConsoleOperator:
    """Liveness, engagement and answers of the page that drives.

    All times are seconds on one steady clock.

    Args:
        task: The action space and the keys.
        sample_timeout: s; samples older than this count as lost.

    Attributes:
        inputs: The inputs that no frame has answered yet.
        silent: Whether the last takeover ended because the page's samples stayed away.
    """

    def __init__(self, task: Task, sample_timeout: float) -> None:
        self.inputs = InputLog()
        self.silent = False
        self._task = task
        self._timeout = sample_timeout
        self._keyboard = Keyboard(task)
        self._drag = Drag(task)
        self._hold = NOTHING
        self._sampled = -math.inf
        self._engaged = False
        self._epoch: int | None = None
        self._step: int | None = None
        self._answered = -math.inf
        self._values: FloatArray | None = None
        self._idle = True
        self._changed = False
        self._seq = 0

    @property
    def engaged(self) -> bool:
        """Whether answers are due."""
        return self._engaged

    @property
    def can_drag(self) -> bool:
        """Whether the picture can be dragged in this task."""
        return self._drag.possible

    @property
    def held(self) -> frozenset[str]:
        """The keys that move something now."""
        return frozenset(self._hold.keys) if self._engaged else frozenset()

    def engage(self, now: float) -> None:
        """The page takes over: nothing is held yet, the reference begins at the measured joints."""
        self._engaged = True
        self.silent = False
        self._hold = NOTHING
        self._sampled = now
        self._epoch = self._step = self._values = None
        self._answered = -math.inf
        self._idle = True
        self._keyboard.forget()
        self._drag.forget()
        self.inputs.clear()

    def sample(self, hold: Hold, now: float) -> None:
        """The page says what the person does."""
        known = self._keyboard.known(hold.keys)
        before, self._hold = (
            self._hold,
            Hold(
                {key: share for key, share in hold.keys.items() if key in known},
                hold.drag if self._drag.possible else None,
                hold.device,
                hold.deadman,
                hold.at,
            ),
        )
        self._sampled = now
        self._changed |= (before.keys, before.drag) != (self._hold.keys, self._hold.drag)
        if self._hold.drag is None:
            self._drag.forget()
        moves = self._commands_motion(self._hold) or self._commands_motion(before)
        if self._engaged and moves and hold.at:
            self.inputs.take(hold.at)

    def disengage(self) -> None:
        """The page does not drive any more, and that has been settled: nothing is sent."""
        self._engaged = False
        self._hold = NOTHING
        self.inputs.clear()

    def lose(self) -> None:
        """The page is gone: its next answer is the one with the dead-man down."""
        self._sampled = -math.inf

    def answer(
        self,
        epoch: int,
        step: int,
        joints: FloatArray,
        now: float,
        *,
        lockstep: bool = False,
        executed: FloatArray | None = None,
    ) -> Action | None:
        """What to send now, if anything; ask on every new state and a few times a period.

        Args:
            epoch: Of the newest state.
            step: Of the newest state.
            joints: float64 (J,), measured last.
            now: s.
            lockstep: Whether the rig waits for answers.
            executed: float64 (A,), what the rig did last; None: not known.
        """
        if not self._engaged:
            return None
        moved = self._epoch is not None and epoch != self._epoch
        unheard = now - self._sampled > self._timeout
        if moved or unheard or not self._hold.deadman:
            self.silent = unheard and not moved
            device = self._hold.device
            self.disengage()
            values = self._values if self._values is not None and not moved else None
            if values is None:
                values = self._task.hold_action(joints, executed)
            return self._make(values, epoch, step, device, deadman=False, idle=False)
        new_step = (epoch, step) != (self._epoch, self._step)
        begins = self._idle and self._changed and self._commands_motion(self._hold)
        wait = (EARLY if lockstep else 0.0) if new_step else (0.0 if begins else LATE)
        if now - self._answered < wait * self._task.period:
            return None
        if new_step and self._step is not None:
            self._keyboard.advance()
        self._epoch, self._step = epoch, step
        self._answered = now
        self._changed = False
        self._values, self._idle = self._command(joints, executed)
        self.inputs.answer(epoch, step)
        return self._make(
            self._values, epoch, step, self._hold.device, deadman=True, idle=self._idle
        )

    def _command(self, joints: FloatArray, executed: FloatArray | None) -> tuple[FloatArray, bool]:
        if self._hold.drag is not None:
            self._keyboard.forget()
            values = self._drag.command(self._hold.drag, joints, executed)
            return values, self._drag.is_still(values, joints, executed)
        values = self._keyboard.command(self._hold.keys, joints, executed)
        return values, self._keyboard.is_idle(self._hold.keys)

    def _commands_motion(self, hold: Hold) -> bool:
        """Whether it moves something, by itself: a drag does from its first pixel on."""
        if hold.drag is not None:
            return hold.drag[:2] != hold.drag[2:]
        return not self._keyboard.is_idle(hold.keys)

    def _make(
        self,
        values: FloatArray,
        epoch: int,
        step: int,
        device: str,
        *,
        deadman: bool,
        idle: bool,
    ) -> Action:
        action = Action(values, Source.OPERATOR, epoch, step, device, self._seq, deadman, idle)
        self._seq += 1
        return action
