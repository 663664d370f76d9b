# SPDX-License-Identifier: Apache-2.0
"""What a page is told of the session and what it may ask, apart from ROS and from the network.

Control is the multiplexer's token: the page that takes over holds it as long as it drives.
Meanwhile the other pages watch; whoever sees trouble may always stop, and anybody may ask for the
wheel.
"""

from __future__ import annotations

from collections import deque
import math
from typing import Any

from hiwm_core.action import Action, Source
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import FloatArray, Task
from hiwm_intervention.console_call import (
    FREE,
    NOT_WHILE_DRIVING,
    Call,
    Outcome,
    call_of,
    sentence_of,
)
from hiwm_intervention.console_economics import Economics
from hiwm_intervention.console_marks import marks_of, targets_of
from hiwm_intervention.console_operator import ConsoleOperator
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_protocol import Ask, Hold
from hiwm_intervention.console_report import MuxReport, RecorderReport, RigReport
from hiwm_intervention.console_tree import TreeView
from hiwm_intervention.reset_guide import ResetGuide
from hiwm_intervention.takeover import DRIVEN, HELD_BY_OPERATOR, ON_ITS_WAY

RATE_WINDOW = 2.0  # s
SILENCE = 1.0  # s; a rig that says nothing for longer is said to be silent
GONE = 4.0  # s; multiplexer and recorder speak once a second, so after this long they are gone


class ConsoleSession:
    """The state behind all pages.

    All times are seconds on one steady clock; stamps are nanoseconds of the graph's clock.

    Args:
        task: The task of the session.
        name: The session's name, shown until the rig says its own.
        sample_timeout: s without a word from the page that drives, after which the dead-man lets
            go.
    """

    def __init__(self, task: Task, name: str, sample_timeout: float) -> None:
        self.operator = ConsoleOperator(task, sample_timeout)
        self.tree = TreeView()
        self.economics = Economics(task.period)
        self.guide = ResetGuide(task)
        self._task = task
        self._name = name
        self._holder = ''
        self._incident = ''  # what befell the session since somebody drove, as a sentence
        self._engaged_stamp = 0
        self._engaged_at = -math.inf
        self._rig: RigReport | None = None
        self._mux: MuxReport | None = None
        self._recorder: RecorderReport | None = None
        self._joints: FloatArray | None = None
        self._command: FloatArray | None = None
        self._command_epoch = 0
        self._executed: tuple[int, Source] = (0, Source.NONE)  # stamp, source
        self._rig_heard = self._mux_heard = self._recorder_heard = -math.inf
        self._ticks: deque[float] = deque()

    @property
    def holder(self) -> str:
        """Who drives: a page, a device elsewhere, or nobody."""
        return self._holder

    @property
    def name(self) -> str:
        """The session's name."""
        return self._rig.session if self._rig else self._name

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self._task.name

    @property
    def is_physical(self) -> bool:
        """Whether a real thing may move: the rig cannot be rolled back, or is not known yet."""
        return self._rig is None or not self._rig.can_rollback

    @property
    def is_guided(self) -> bool:
        """Whether a person has to set up the starts."""
        return self._rig is not None and not self._rig.can_rollback

    @property
    def epoch(self) -> int:
        """Of the rig; 0: it is not known yet."""
        return self._rig.epoch if self._rig else 0

    @property
    def is_driven(self) -> bool:
        """Whether anybody drives."""
        return self._mux is not None and self._mux.phase in DRIVEN

    # -- what the graph says ---------------------------------------------------------------------

    def see_rig(self, report: RigReport, now: float) -> bool:
        """A state of the rig; returns whether its tree has to be fetched."""
        before = self._rig
        if before is not None and _is_another(before, report):
            # Nothing known of the tree holds any more.
            self.tree = TreeView(self.tree.generation + 1)
        if report.mode != Mode.RUNNING or (before and before.mode != Mode.RUNNING):
            self._ticks.clear()
        if before is not None and report.executed_actions < before.executed_actions:
            self._incident = (
                f'The rig was gone for {now - self._rig_heard:.0f} s and was started again '
                f'at step {report.step} of {report.branch}.'
            )
        if report.mode == Mode.RUNNING and (before is None or report.node != before.node):
            self._ticks.append(now)
            while now - self._ticks[0] > RATE_WINDOW:
                self._ticks.popleft()
        self._rig = report
        self._rig_heard = now
        self.guide.see_rig(report)
        self.economics.see_step(report.session, now)
        stamp, source = self._executed
        source = source if stamp == report.stamp else Source.NONE
        return self.tree.see(Place(report.node, report.parent, report.step, report.branch, source))

    def see_mux(self, report: MuxReport, now: float) -> None:
        """A state of the multiplexer."""
        if report.phase in DRIVEN and not self.is_driven:
            self._incident = ''
        self._mux = report
        self._mux_heard = now
        self.economics.see_human_time(report.human_time)
        if report.stamp < self._engaged_stamp and now - self._engaged_at < ON_ITS_WAY:
            # It was on its way before the takeover was granted. After that, a clock was set back.
            return
        self._holder = report.operator_id
        if report.phase not in HELD_BY_OPERATOR:
            self.operator.disengage()

    def see_recorder(self, report: RecorderReport, now: float) -> None:
        """A state of the recorder."""
        self._recorder = report
        self._recorder_heard = now

    def see_joints(self, joints: FloatArray) -> None:
        """Measured joints (J,)."""
        self._joints = joints

    def see_executed(
        self, values: FloatArray, source: Source, epoch: int, step: int, stamp: int
    ) -> list[float]:
        """What the rig executed (A,) on the way to the frame of that stamp.

        Returns:
            The times of the inputs of the page in control that this frame is the first to answer.
        """
        self._command, self._command_epoch = values, epoch
        self._executed = (stamp, source)
        return self.operator.inputs.execute(epoch, step) if source is Source.OPERATOR else []

    # -- what pages do ---------------------------------------------------------------------------

    def hold(self, page: str, hold: Hold, now: float) -> None:
        """What a page holds; that of a page that only watches counts for nothing."""
        if page == self._holder:
            self.operator.sample(hold, now)

    def close(self, page: str) -> bool:
        """A page is gone; returns whether it held control, which is to be released for it."""
        if page != self._holder:
            return False
        self._holder = ''
        self._incident = 'The page that drove was closed or lost its connection.'
        self.operator.lose()
        return True

    def refusal(self, page: str, ask: Ask) -> str:
        """Why the page may not ask this now, as a sentence; empty if it may."""
        if ask.name not in FREE and self._holder and page != self._holder:
            return f"'{self._holder}' is in control; this page watches until it lets go."
        if ask.name in NOT_WHILE_DRIVING and page == self._holder:
            return 'You drive; release first.'
        return ''

    def call(self, page: str, ask: Ask) -> Call:
        """The service request that does it."""
        return call_of(page, ask, self.tree)

    def settle(self, page: str, ask: Ask, outcome: Outcome, stamp: int, now: float) -> str:
        """A service answered; `stamp` is when it was asked. Returns the sentence for the page."""
        set_up = self.guide.seconds(now) if ask.name == 'ready' else None
        if ask.name == 'ready':
            self.guide.settle(int(outcome.fields['node']) if outcome.success else 0)
        if not outcome.success:
            return outcome.message or f'It was refused without a reason ({ask.name}).'
        if ask.name == 'take_over':
            self._holder = page
            self._engaged_stamp, self._engaged_at = stamp, now
            self.operator.engage(now)
        elif ask.name == 'release':
            self._holder = ''
            self.operator.disengage()
        return sentence_of(ask, outcome.fields, set_up)

    def answer(self, now: float) -> Action | None:
        """The operator's action that is due now, if any."""
        if self._rig is None or self._joints is None:
            return None
        action = self.operator.answer(
            self._rig.epoch,
            self._rig.step,
            self._joints,
            now,
            lockstep=self._rig.pace == Pace.LOCKSTEP,
            executed=self._command if self._command_epoch == self._rig.epoch else None,
        )
        if action is not None and self.operator.silent and not self._incident:
            self._incident = 'Nothing was heard any more of the page that drove.'
        return action

    # -- what pages are told ---------------------------------------------------------------------

    def hello(self, page: str) -> dict[str, Any]:
        """The first message to a page: who it is and what the task is."""
        task = self._task
        return {
            'type': 'hello',
            'page': page,
            'session': self._name,
            'task': {
                'name': task.name,
                'description': task.description,
                'rate': task.rate,
                'width': task.camera.width,
                'height': task.camera.height,
                'progress_name': task.progress_name,
                'success_above': task.success_above,
                'keys': {key: dict(moves) for key, moves in task.keys.items()},
                'can_drag': self.operator.can_drag,
                'targets': targets_of(task),
            },
        }

    def tell(self, now: float) -> dict[str, Any]:
        """Everything but the frame and the tree."""
        recorder = self._recorder if now - self._recorder_heard <= GONE else None
        mux = self._mux if now - self._mux_heard <= GONE else None
        return {
            'holder': self._holder,
            'held': sorted(self.operator.held),
            'incident': self._incident,
            'rig': self._tell_rig(now),
            'mux': mux.tell() if mux else None,
            'recorder': recorder.tell() if recorder else None,
            'marks': marks_of(self._task, self._joints, self._command),
            'economics': self.economics.tell(),
            'guide': self.guide.tell(now),
        }

    def _tell_rig(self, now: float) -> dict[str, Any] | None:
        if self._rig is None:
            return None
        silent = now - self._rig_heard
        return {
            **self._rig.tell(),
            'hertz': self._hertz(now),
            'silent_seconds': int(silent) if silent > SILENCE else 0,
        }

    def _hertz(self, now: float) -> float | None:
        """Steps per second over the last moments; None while time stands still."""
        if len(self._ticks) < 2 or self._ticks[-1] == self._ticks[0]:
            return None
        if now - self._ticks[-1] > RATE_WINDOW:
            return None
        return round((len(self._ticks) - 1) / (self._ticks[-1] - self._ticks[0]), 2)


def _is_another(before: RigReport, report: RigReport) -> bool:
    """Whether another rig speaks, or the same one without what it had kept."""
    if report.session != before.session or report.epoch < before.epoch:
        return True
    # A rig that takes up its journal again begins another epoch.
    return report.epoch == before.epoch and report.executed_actions < before.executed_actions
