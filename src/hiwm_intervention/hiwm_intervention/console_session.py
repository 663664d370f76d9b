# SPDX-License-Identifier: Apache-2.0
"""What a page is told of the session and what it may ask, apart from ROS and from the network.

Control is the multiplexer's token: the page that takes over holds it as long as it drives.
Meanwhile the other pages watch; whoever sees trouble may always stop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
import math
from typing import Any

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.contract import Service
from hiwm_core.rig import Mode, Pace
from hiwm_core.rollout_tree import Label
from hiwm_core.task import FloatArray, Task
from hiwm_intervention.console_operator import ConsoleOperator
from hiwm_intervention.console_protocol import Ask
from hiwm_intervention.console_tree import TreeView
from hiwm_intervention.takeover import HELD_BY_OPERATOR, Event, Phase

RATE_WINDOW = 2.0  # s
SILENCE = 1.0  # s; a rig that says nothing for longer is said to be silent
GONE = 4.0  # s; multiplexer and recorder speak once a second, so after this long they are gone

# Asks that are an event of the takeover table, and the service of each of the others.
EVENTS: Mapping[str, Event] = {
    'take_over': Event.TAKE_OVER,
    'release': Event.RELEASE,
    'pause': Event.PAUSE,
    'resume': Event.RESUME,
    'stop': Event.LOCK,
    'unlock': Event.RESET,
}
SERVICES: Mapping[str, Service] = {
    **dict.fromkeys(EVENTS, contract.TAKEOVER),
    'step': contract.STEP,
    'rollback': contract.ROLLBACK,
    'go_to': contract.ROLLBACK,
    'branch': contract.BRANCH,
    'checkpoint': contract.SAVE_CHECKPOINT,
    'reset': contract.RESET,
    'label': contract.LABEL,
}


@dataclass(frozen=True)
class RigReport:
    """The newest `hiwm_msgs/msg/RigState`; `stamp` in nanoseconds."""

    stamp: int
    session: str
    task: str
    rig: str
    epoch: int
    node: int
    branch: str
    step: int
    context: bool
    mode: int
    pace: int
    can_rollback: bool
    can_branch: bool
    progress: float
    success: float
    fidelity: float
    dropped_actions: int
    missed_deadlines: int
    message: str


@dataclass(frozen=True)
class MuxReport:
    """The newest `hiwm_msgs/msg/MuxState`; `stamp` in nanoseconds."""

    stamp: int
    phase: int
    source: int
    operator_id: str
    device: str
    holding: bool
    reason: str
    rejected_actions: int


@dataclass(frozen=True)
class RecorderReport:
    """The newest `hiwm_msgs/msg/RecorderState`."""

    recording: bool
    uri: str
    written_bytes: int
    free_bytes: int
    message: str


@dataclass(frozen=True)
class Call:
    """A service request: the service and the fields to fill in."""

    service: Service
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A service's answer; `fields` holds what it says beside the three last fields."""

    success: bool
    message: str
    fields: Mapping[str, Any]


class ConsoleSession:
    """The state behind all pages.

    All times are seconds on one steady clock; stamps are nanoseconds of the graph's clock.

    Args:
        task: The task of the session. name: The session's name, shown until the rig says its own.
        sample_timeout: s without a word from the page that drives, after which the dead-man lets
        go.
    """

    def __init__(self, task: Task, name: str, sample_timeout: float) -> None:
        self.operator = ConsoleOperator(task, sample_timeout)
        self.tree = TreeView()
        self._task = task
        self._name = name
        self._holder = ''
        self._engaged_stamp = 0
        self._rig: RigReport | None = None
        self._mux: MuxReport | None = None
        self._recorder: RecorderReport | None = None
        self._joints: FloatArray | None = None
        self._command: FloatArray | None = None
        self._rig_heard = self._mux_heard = self._recorder_heard = -math.inf
        self._ticks: deque[float] = deque()

    # -- what the graph says ---------------------------------------------------------------------

    def see_rig(self, report: RigReport, now: float) -> bool:
        """A state of the rig; returns whether its tree has to be fetched."""
        before = self._rig
        if before is not None and (report.session != before.session or report.epoch < before.epoch):
            # Another rig, or the same one begun anew: nothing known of the tree holds any more.
            self.tree = TreeView(version=self.tree.version + 1)
        if report.mode != Mode.RUNNING or (before and before.mode != Mode.RUNNING):
            self._ticks.clear()
        if report.mode == Mode.RUNNING and (before is None or report.node != before.node):
            self._ticks.append(now)
            while now - self._ticks[0] > RATE_WINDOW:
                self._ticks.popleft()
        self._rig = report
        self._rig_heard = now
        return self.tree.see(report.node, report.step, report.branch)

    def see_mux(self, report: MuxReport, now: float) -> None:
        """A state of the multiplexer."""
        self._mux = report
        self._mux_heard = now
        if report.stamp < self._engaged_stamp:
            # It was on its way before the takeover was granted.
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

    def see_command(self, values: FloatArray) -> None:
        """What the rig executed (A,)."""
        self._command = values

    # -- what pages do ---------------------------------------------------------------------------

    def hold(self, page: str, keys: Iterable[str], now: float) -> None:
        """A page's held keys; those of a page that only watches count for nothing."""
        if page == self._holder:
            self.operator.sample(keys, now)

    def close(self, page: str) -> bool:
        """A page is gone; returns whether it held control, which is to be released for it."""
        if page != self._holder:
            return False
        self._holder = ''
        self.operator.lose()
        return True

    def refusal(self, page: str, ask: Ask) -> str:
        """Why the page may not ask this now, as a sentence; empty if it may."""
        if ask.name != 'stop' and self._holder and page != self._holder:
            return f"'{self._holder}' is in control; this page watches until it lets go."
        return ''

    def call(self, page: str, ask: Ask) -> Call:
        """The service request that does it."""
        service = SERVICES[ask.name]
        if ask.name in EVENTS:
            return Call(service, {'event': int(EVENTS[ask.name]), 'operator_id': page})
        fields = dict(ask.fields)
        if ask.name == 'label':
            fields['label'] = int(Label[fields['label'].upper()])
        if 'called' in fields:
            fields['name'] = fields.pop('called')
        if ask.name == 'checkpoint' and not fields['name']:
            fields['name'] = self.tree.free_checkpoint_name()
        return Call(service, fields)

    def settle(self, page: str, ask: Ask, outcome: Outcome, stamp: int, now: float) -> str:
        """A service answered; `stamp` is when it was asked. Returns the sentence for the page."""
        if not outcome.success:
            return outcome.message or f'It was refused without a reason ({ask.name}).'
        if ask.name == 'take_over':
            self._holder = page
            self._engaged_stamp = stamp
            self.operator.engage(now)
        elif ask.name == 'release':
            self._holder = ''
            self.operator.disengage()
        return _done(ask, outcome.fields)

    def answer(self, now: float) -> Action | None:
        """The operator's action that is due now, if any."""
        if self._rig is None or self._joints is None:
            return None
        return self.operator.answer(
            self._rig.epoch,
            self._rig.step,
            self._joints,
            now,
            lockstep=self._rig.pace == Pace.LOCKSTEP,
        )

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
            },
        }

    def tell(self, now: float) -> dict[str, Any]:
        """Everything but the frame and the tree."""
        return {
            'holder': self._holder,
            'held': sorted(self.operator.held),
            'rig': self._tell_rig(now),
            'mux': self._tell_mux(now),
            'recorder': self._tell_recorder(now),
            'marks': self._marks(),
        }

    def _tell_rig(self, now: float) -> dict[str, Any] | None:
        rig = self._rig
        if rig is None:
            return None
        silent = now - self._rig_heard
        return {
            'session': rig.session,
            'task': rig.task,
            'rig': rig.rig,
            'stamp': str(rig.stamp),
            'epoch': rig.epoch,
            'node': rig.node,
            'branch': rig.branch,
            'step': rig.step,
            'context': rig.context,
            'mode': _name(Mode, rig.mode),
            'pace': _name(Pace, rig.pace),
            'can_rollback': rig.can_rollback,
            'can_branch': rig.can_branch,
            'progress': _number(rig.progress),
            'success': _number(rig.success),
            'fidelity': _number(rig.fidelity),
            'dropped_actions': rig.dropped_actions,
            'missed_deadlines': rig.missed_deadlines,
            'message': rig.message,
            'hertz': self._hertz(),
            'silent_seconds': int(silent) if silent > SILENCE else 0,
        }

    def _tell_mux(self, now: float) -> dict[str, Any] | None:
        mux = self._mux
        if mux is None or now - self._mux_heard > GONE:
            return None
        return {
            'phase': _name(Phase, mux.phase),
            'source': _name(Source, mux.source),
            'operator': mux.operator_id,
            'device': mux.device,
            'holding': mux.holding,
            'reason': mux.reason,
            'rejected_actions': mux.rejected_actions,
        }

    def _tell_recorder(self, now: float) -> dict[str, Any] | None:
        recorder = self._recorder
        if recorder is None or now - self._recorder_heard > GONE:
            return None
        return {
            'recording': recorder.recording,
            'uri': recorder.uri,
            'written_bytes': recorder.written_bytes,
            'free_bytes': recorder.free_bytes,
            'message': recorder.message,
        }

    def _hertz(self) -> float | None:
        """Steps per second over the last moments; None while time stands still."""
        if len(self._ticks) < 2 or self._ticks[-1] == self._ticks[0]:
            return None
        return round((len(self._ticks) - 1) / (self._ticks[-1] - self._ticks[0]), 2)

    def _marks(self) -> list[dict[str, Any]]:
        """Measured and commanded positions in the picture, 0 to 1 from its top left corner.

        A task's `metres_per_pixel` makes its picture a map of the plane; the first two joints of an
        actuated body are then its place in it.
        """
        camera = self._task.camera
        if self._joints is None or camera.metres_per_pixel <= 0:
            return []
        measured = dict(zip(self._task.joint_names, self._joints, strict=True))
        commanded = {}
        if self._command is not None:
            commanded = dict(zip(self._task.action_names, self._command, strict=True))

        def place(values: Mapping[str, float], joints: Sequence[str]) -> list[float] | None:
            if len(joints) < 2 or not set(joints[:2]) <= values.keys():
                return None
            across, down = (float(values[joint]) / camera.metres_per_pixel for joint in joints[:2])
            return [round(across / camera.width, 4), round(down / camera.height, 4)]

        return [
            {
                'body': actuation.body,
                'measured': place(measured, actuation.joints),
                'commanded': place(commanded, actuation.joints),
            }
            for actuation in self._task.actuated
        ]


def _name(kind: type[IntEnum], value: int) -> str:
    return kind(value).name.lower() if value in set(kind) else 'unknown'


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _done(ask: Ask, fields: Mapping[str, Any]) -> str:
    """What was done, where the page does not show it anyway."""
    if ask.name in {'rollback', 'go_to'}:
        return f'Back at step {fields["step"]}. The old future is kept as its own branch.'
    if ask.name == 'branch':
        return f"'{fields['branch']}' begins here."
    if ask.name == 'checkpoint':
        return 'The checkpoint is saved.'
    if ask.name == 'reset':
        return f'A new run from start {fields["seed"]}.'
    if ask.name == 'label':
        return f"'{fields['branch']}' is labelled {ask.fields['label']}."
    return ''
