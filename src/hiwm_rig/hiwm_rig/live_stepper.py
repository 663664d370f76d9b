# SPDX-License-Identifier: Apache-2.0
"""Steps of a rig whose time nobody can stop: each camera frame that is due is one.

An action is sent to the arm when it comes, not when a period begins. The next frame that is due
shows what it did: that frame, the measured joints and what the arm was really sent make the next
node. In realtime a frame is due every period of the task; in lockstep the arm holds until an action
has come, and the frame a period later is the step's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
import threading
import time
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action, Source, clip_values
from hiwm_core.backend import Backend
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.rig import NOT_RESET, Mode, Pace, Rig
from hiwm_core.rollout_tree import Node
from hiwm_rig.live_publisher import LivePublisher
from hiwm_rig.pacing import Pacing

FloatArray = NDArray[np.float64]

# Of a period, by which a camera's frame may come early.
EARLY = 0.25
# Periods without a frame after which the camera counts as lost, if its timeout is not longer.
BLIND_PERIODS = 5.0
# s that a camera may take to start.
FIRST_FRAME = 10.0
# Of the task's largest step: how far the arm is moved in a period on its way to a start.
START_SHARE = 0.15
# In the task's units, as a share of its largest step: near enough to a start.
NEAR = 0.05


class LiveArm(Protocol):
    """What moves; all of it returns at once."""

    @property
    def refusal(self) -> str:
        """Why it takes no commands now, in one sentence; empty: it does."""
        ...

    @property
    def faulty(self) -> bool:
        """Whether only a repair helps."""
        ...

    def command(self, values: FloatArray) -> None:
        """Go there within a period. Raises HiwmError where it takes no commands."""
        ...

    def hold(self) -> None:
        """Hold the measured position."""
        ...

    def values(self) -> FloatArray | None:
        """What is measured, in the task's values (A,)."""
        ...

    def executed(self) -> FloatArray | None:
        """What it was really sent (A,)."""
        ...


class LiveStepper:
    """See the module's text; the methods that `hiwm_rig.steps.Steps` names mean the same here.

    Args:
        rig: Where it stands; shared with the caller under `lock`.
        arm: What moves.
        pacing: In realtime or in lockstep.
        topics: Where each step is shown.
        camera: What sentences call the camera.
        camera_timeout: s without a frame, at the least, after which it counts as lost.
        begin: Makes the session's first root, once the first frame is there; called under the lock.
        goes_to_start: Whether a reset moves the arm to the start's place.
        repair: Tries to bring an arm with a fault back, and returns when it has.
        report: Told the sentence of every fault.
        clock: s, steady.
    """

    def __init__(
        self,
        *,
        rig: Rig,
        arm: LiveArm,
        pacing: Pacing,
        topics: LivePublisher,
        camera: str,
        camera_timeout: float,
        begin: Callable[[], None],
        goes_to_start: bool,
        repair: Callable[[], None],
        report: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lock = threading.RLock()
        self._rig = rig
        self._arm = arm
        self._pacing = pacing
        self._topics = topics
        self._camera = camera
        self._patience = max(camera_timeout, BLIND_PERIODS * rig.task.period)
        self._begin = begin
        self._goes_to_start = goes_to_start
        self._repair = repair
        self._report = report
        self._clock = clock
        self._stopped = True
        self._begun = False
        # Whether there is a root since the start: what the tree holds from before is not here.
        self._rooted = False
        self._seen: Observation | None = None
        self._seen_at = clock()
        self._due_ns = 0
        self._answered_at: float | None = None
        self._start: FloatArray | None = None
        task = rig.task
        self._columns = [task.action_names.index(name) for name in task.joint_names]

    # -- what comes in ---------------------------------------------------------------------------

    def take_frame(self, frame: NDArray[np.uint8], stamp_ns: int) -> None:
        """The camera's newest frame uint8 (H, W, 3) and its stamp."""
        with self.lock:
            values = self._arm.values()
            if self._stopped or values is None or not self._topics.note_frame(stamp_ns):
                return
            if frame.shape != self._rig.task.frame_shape:
                height, width, _ = self._rig.task.frame_shape
                self._fail(
                    f'the camera {self._camera} shows {frame.shape[1]}x{frame.shape[0]} pixels, '
                    f"task '{self._rig.task.name}' needs {width}x{height}; crop and resize them"
                )
                return
            self._seen = Observation(frame, values[self._columns], fidelity=1.0)
            self._seen_at = self._clock()
            if not self._begun:
                try:
                    self._begin()
                except HiwmError as error:
                    # The next frame is another chance.
                    self._fail(error.message)
                    return
                self._begun = True
                # Nobody has asked for a reset yet: the arm stays.
                self._start = None
            shown = self._rooted and self._topics.is_new(stamp_ns)
            if not shown or not self._is_due(stamp_ns):
                return
            executed = None
            if self._rig.mode is Mode.RUNNING and self._is_answered():
                executed = self._step(self._seen)
            self._set_due(stamp_ns)
            self._go_on_to_start(values)
            self._topics.show_seen(self._rig.head, self._seen, stamp_ns, executed)

    def receive(self, action: Action, arrived: float) -> None:
        """See `Stepper.receive`: what is not too old goes to the arm at once."""
        with self.lock:
            rig = self._rig
            answers = rig.receive(action)
            if rig.waiting is not action or rig.mode is not Mode.RUNNING:
                return
            if action.step < rig.head.step - 1:
                return
            if answers and self._answered_at is None:
                self._answered_at = arrived
            try:
                if action.source is Source.HOLD:
                    self._arm.hold()
                else:
                    self._arm.command(clip_values(rig.task, action.values))
            except HiwmError as error:
                self._note_arm(error.message)

    def tick(self) -> None:
        """A period has begun: see whether camera and arm are still there."""
        with self.lock:
            if self._stopped:
                return
            if refusal := self._arm.refusal:
                self._note_arm(refusal)
            elif self._rig.mode is Mode.PAUSED:
                self._rig.message = ''
            blind = self._clock() - self._seen_at
            if blind > (self._patience if self._begun else FIRST_FRAME) and self._topics.behind:
                self._fail(
                    f'the frames of {self._camera} carry stamps {self._topics.behind:.1f} s in the '
                    'past: its clock was set back; end the session and begin it again'
                )
            elif blind > (self._patience if self._begun else FIRST_FRAME):
                self._fail(
                    f'no frame has come from {self._camera} for {blind:.1f} s; '
                    'look to the camera, then reset the rig'
                )

    # -- what is asked for -----------------------------------------------------------------------

    def start(self) -> None:
        """See `Stepper.start`."""
        with self.lock:
            self._stopped = self._begun = self._rooted = False
            self._seen_at = self._clock()

    def stop(self) -> None:
        """See `Stepper.stop`."""
        with self.lock:
            self._stopped = True
            self._start = None

    def pause(self) -> None:
        """The arm holds, and frames are no steps."""
        with self.lock:
            self._check_rooted()
            self._rig.pause()
            self._start = None
            self._arm.hold()
            self._topics.show_head()

    def resume(self) -> None:
        """Frames are steps from the next one on. Raises HiwmError where the arm cannot move."""
        with self.lock:
            if refusal := self._arm.refusal:
                raise HiwmError(refusal, ErrorCode.NOT_READY)
            self._check_rooted()
            self._start = None
            self._answered_at = None
            self._rig.resume()
            self._topics.show_head()

    def reset(self, scene: FloatArray) -> Node:
        """Begin anew from the scene as the camera shows it now.

        An arm with a fault is repaired first. Where `goes_to_start`, the arm then moves slowly to
        where the scene wants it; the scene itself a person sets up.
        """
        with self.lock:
            if self._arm.faulty:
                self._repair()
            if self._seen is None or self._clock() - self._seen_at > self._patience:
                raise HiwmError(
                    f'no frame has come from {self._camera}; look to the camera first',
                    ErrorCode.NOT_READY,
                )
            self._arm.hold()
            self._answered_at = None
            node = self._rig.reset(self._seen, self._rig.tree.root_key(scene))
            self._rooted = True
            self._start = None
            if self._goes_to_start and scene.size:
                self._start = self._rig.task.hold_action(self._rig.task.joints_of_scene(scene))
            return node

    def step_by_hand(self, count: int) -> None:
        """Refused: the world cannot be stepped. Raises HiwmError."""
        self._refuse('stepped by hand; resume it')

    def set_pace(self, advance: int, speed: float) -> None:
        """Refused: its time is everybody's. Raises HiwmError."""
        self._refuse('slowed, hastened or made to wait')

    @contextmanager
    def lend_backend(self) -> Iterator[Backend]:
        """Refused: there is no model behind it. Raises HiwmError."""
        self._refuse('asked what would be; ask a world model')
        yield  # type: ignore[unreachable]

    def _refuse(self, what: str) -> NoReturn:
        raise HiwmError(f'a physical rig cannot be {what}', ErrorCode.NOT_SUPPORTED)

    # -- inside ----------------------------------------------------------------------------------

    def _check_rooted(self) -> None:
        """Raises HiwmError before the first reset."""
        if not self._rooted:
            raise HiwmError(NOT_RESET, ErrorCode.NOT_READY)

    def _is_due(self, stamp_ns: int) -> bool:
        return stamp_ns >= self._due_ns - EARLY * self._rig.task.period * 1e9

    def _set_due(self, stamp_ns: int) -> None:
        """A frame is due a period after the last was due: one late frame shifts no other."""
        period_ns = round(self._rig.task.period * 1e9)
        kept = abs(stamp_ns - self._due_ns) < 0.5 * period_ns
        self._due_ns = (min(self._due_ns, stamp_ns) if kept else stamp_ns) + period_ns

    def _is_answered(self) -> bool:
        if self._pacing.pace is Pace.REALTIME:
            return True
        answered = self._answered_at
        early = (1.0 - EARLY) * self._rig.task.period
        return answered is not None and self._clock() - answered >= early

    def _step(self, seen: Observation) -> Action | None:
        """The node that this frame is, and the action that led to it."""
        request = self._rig.begin_step()
        if request.action.source is Source.HOLD:
            self._arm.hold()
        sent = self._arm.executed()
        if sent is not None:
            values = clip_values(self._rig.task, sent)
            request = replace(request, action=replace(request.action, values=values))
        self._answered_at = None
        node = self._rig.finish_step(request, seen)
        return None if node is None else request.action

    def _go_on_to_start(self, values: FloatArray) -> None:
        """One period of the slow way to a start."""
        if self._start is None or self._rig.mode is not Mode.PAUSED:
            return
        largest = self._rig.task.action_max_step
        way = self._start - values
        if (np.abs(way) < NEAR * largest).all():
            self._start = None
            return
        excess = float(np.max(np.abs(way) / (START_SHARE * largest), initial=1.0))
        try:
            self._arm.command(values + way / excess)
        except HiwmError as error:
            self._start = None
            self._note_arm(error.message)

    def _note_arm(self, sentence: str) -> None:
        """The arm does not move: a fault has to be mended, a stop to be reset."""
        if not self._rooted:
            return
        if self._arm.faulty:
            self._fail(sentence)
        elif self._rig.message != sentence:
            if self._rig.mode is Mode.RUNNING:
                self._rig.pause()
            self._rig.message = sentence

    def _fail(self, sentence: str) -> None:
        self._arm.hold()
        self._start = None
        if self._rig.mode is not Mode.FAULT:
            self._report(sentence)
            self._rig.fail(sentence)
        if self._rooted:
            self._topics.show_head()
