# SPDX-License-Identifier: Apache-2.0
"""What makes a rig's steps: the backend behind one worker thread, and each step's publication.

The executor's thread calls in (`tick`, `receive`, the services' methods), the worker computes. Both
share the rig under `lock`. The worker does not hold it while the backend computes, so a slow
backend delays its own frames and nothing else; only steps asked for by hand are computed in the
caller's thread, which nothing competes with since the rig is paused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
from typing import Any

from hiwm_msgs.msg import TreeEvent
import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action
from hiwm_core.backend import Backend, first_observation, next_observation
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.rig import Mode, Pace, Rig, StepRequest
from hiwm_core.rollout_tree import Node
from hiwm_rig.diagnostics import Diagnostics
from hiwm_rig.pace_watch import PaceWatch
from hiwm_rig.pacing import Pacing
from hiwm_rig.rig_publisher import RigPublisher

LONGEST_STEP = 10.0  # s, how long a pause waits for the step in progress


class Stepper:
    """The steps of one rig.

    Args:
        rig: Where it stands; shared with the caller under `lock`.
        backend: Gets one call at a time.
        pacing: When a step is due; changed by the caller under `lock`.
        topics: Where each step is shown.
        diagnostics: Told of every step's duration.
        warn: Told the sentence if the backend turns out slower than real time.
        report: Told the sentence of every failed step.
        halt: Called by the worker with what ended it; the worker does not go on afterwards.

    Attributes:
        lock: Held by whoever looks at the rig or moves it.
    """

    def __init__(
        self,
        *,
        rig: Rig,
        backend: Backend,
        pacing: Pacing,
        topics: RigPublisher,
        diagnostics: Diagnostics,
        warn: Callable[[str], Any],
        report: Callable[[str], Any],
        halt: Callable[[Exception], None],
    ) -> None:
        self.lock = threading.RLock()
        self._rig = rig
        self._backend = backend
        self._pacing = pacing
        self._topics = topics
        self._diagnostics = diagnostics
        self._warn = warn
        self._report = report
        self._pace_watch = PaceWatch(rig.task.period)
        self._halt = halt
        self._changed = threading.Condition(self.lock)
        # May be taken while `lock` is held, never the other way round.
        self._backend_lock = threading.Lock()
        self._due = False  # realtime: a period has begun whose step has not
        self._busy = False  # a step is being computed
        self._answered_at: float | None = None  # when the answer to the head came
        self._stopped = True
        self._worker: threading.Thread | None = None

    # -- the executor's side ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin to make steps."""
        self._due = self._busy = self._stopped = False
        self._worker = threading.Thread(target=self._work, name='stepper', daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """Make no more steps; a step in progress gets a few seconds to end, and is not shown."""
        with self.lock:
            self._stopped = True
            self._changed.notify_all()
        if self._worker is not None:
            self._worker.join(timeout=5.0)

    def tick(self) -> None:
        """A period has begun: the next step, or, where time stands still, the frame once more.

        Time stands still in a pause, and in lockstep while no action comes. A camera still shows
        what is there, and a subscriber that came late or lost the frame gets it.
        """
        with self.lock:
            if not self._rig.tree.head:
                return
            running = self._rig.mode is Mode.RUNNING
            if running and self._pacing.pace is Pace.REALTIME:
                if not (self._due or self._busy):
                    self._due = True
                    self._changed.notify_all()
                    return
                if self._busy or self._pacing.misses(self._rig.answered):
                    self._rig.missed_deadlines += 1
                    return
            if not self._busy and (not running or self._topics.idle_time > self._rig.task.period):
                self._topics.show_head()

    def receive(self, action: Action, arrived: float) -> None:
        """Take an action in, which in lockstep may be what the next step waits for.

        Args:
            arrived: s, monotonic, when it came into the node.
        """
        with self.lock:
            if self._rig.receive(action):
                # One that comes while the step is computed is too late to be answered by it.
                if not self._busy:
                    self._answered_at = arrived
                self._changed.notify_all()

    def pause(self) -> None:
        """Time stands still after the step in progress, and the frame there is shown."""
        with self.lock:
            self._rig.pause()
            self._wait_until_idle()
            self._topics.show_head()

    def resume(self) -> None:
        """Time runs from the next tick on; the frame to answer is shown again."""
        with self.lock:
            if self._rig.mode is not Mode.RUNNING:
                self._rig.resume()
                self._due = False
                self._answered_at = None
                self._topics.show_head()

    def step_by_hand(self, count: int) -> None:
        """Make steps now; raises HiwmError unless the rig is paused, or if a step fails."""
        with self.lock:
            if self._rig.head and self._rig.mode is Mode.FAULT:
                raise self._rig.standstill
            if self._rig.mode is not Mode.PAUSED:
                raise HiwmError(
                    'only a paused rig can be stepped by hand; pause it first',
                    ErrorCode.NOT_PAUSED,
                )
            self._wait_until_idle()
            for _ in range(count):
                if self._step(self._rig.begin_step()) is None:
                    raise HiwmError(self._rig.message, ErrorCode.MODEL_FAULT)

    def reset(self, scene: NDArray[np.float64]) -> Node:
        """Begin anew from a scene (S,); nothing is shown yet."""
        with self.lock:
            key = self._rig.tree.root_key(scene)
            try:
                with self._backend_lock:
                    observation = first_observation(self._backend, scene, key)
            except Exception as error:
                raise self._backend_fault('a reset', error) from error
            return self._rig.reset(observation, key)

    @contextmanager
    def lend_backend(self) -> Iterator[Backend]:
        """The backend for a call beside the session, as soon as the session does not need it.

        A step that comes due meanwhile waits for that one call.

        Raises:
            HiwmError: NOT_READY: the rig makes no steps any more, or MODEL_FAULT: the call failed.
        """
        with self.lock:
            # Whether a step is due depends on more than what notifies, so it is looked at again.
            while not self._changed.wait_for(self._is_idle, timeout=self._rig.task.period):
                pass
            if self._stopped:
                raise HiwmError('the rig has stopped; activate it first', ErrorCode.NOT_READY)
            self._backend_lock.acquire()
        try:
            yield self._backend
        except Exception as error:
            raise HiwmError(
                f'{self._backend.name} failed in a rollout: {_reason(error)}; '
                'the session is as it was',
                ErrorCode.MODEL_FAULT,
            ) from error
        finally:
            self._backend_lock.release()

    def _is_idle(self) -> bool:
        return self._stopped or not (self._busy or self._step_is_due())

    def set_pace(self, advance: int, speed: float) -> None:
        """Change how time runs; see `Pacing.set`. Raises HiwmError."""
        with self.lock:
            self._pacing.set(advance, speed)
            self._changed.notify_all()
            if self._rig.tree.head:
                self._topics.show_head()

    def _wait_until_idle(self) -> None:
        """Until the step in progress is done; the worker has the lock meanwhile."""
        if not self._changed.wait_for(lambda: not self._busy, timeout=LONGEST_STEP):
            raise HiwmError(
                f'the step in progress has not ended within {LONGEST_STEP:g} s; '
                'time stands still after it',
                ErrorCode.TIMED_OUT,
            )

    # -- the worker's side -----------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while True:
                with self.lock:
                    self._changed.wait_for(lambda: self._stopped or self._step_is_due())
                    if self._stopped:
                        return
                    self._due = False
                    request = self._rig.begin_step()
                    self._busy = True
                self._step(request)
        except Exception as error:
            self._halt(error)

    def _step_is_due(self) -> bool:
        if self._rig.mode is not Mode.RUNNING:
            return False
        return self._pacing.is_due(self._due, self._rig.answered)

    def _step(self, request: StepRequest) -> Node | None:
        """Compute a step, then take its result in; None if it failed or belongs nowhere.

        Raises:
            HiwmError: STORAGE_FAULT.
        """
        try:
            observation = self._compute(request)
            with self.lock:
                return None if self._stopped else self._finish(request, observation)
        except HiwmError as error:
            if error.code is ErrorCode.STORAGE_FAULT:
                raise
            with self.lock:
                if request.epoch == self._rig.tree.epoch and not self._stopped:
                    self._rig.fail(error.message)
                    self._report(error.message)
                    self._topics.show_head()
            return None
        finally:
            with self.lock:
                self._busy = False
                self._changed.notify_all()

    def _compute(self, request: StepRequest) -> Observation:
        try:
            with self._backend_lock, self._diagnostics.computing():
                return next_observation(
                    self._backend, request.observation, request.action.values, request.key
                )
        except Exception as error:
            raise self._backend_fault('a step', error) from error

    def _finish(self, request: StepRequest, observation: Observation) -> Node | None:
        left = self._rig.branch
        node = self._rig.finish_step(request, observation)
        if node is not None:
            if node.branch != left:
                fork = self._rig.tree.node(request.node)
                self._topics.tell(TreeEvent.KIND_BRANCH, fork, node.branch, from_node=fork.id)
            self._watch_pace()
            self._topics.show(node, executed=request.action)
            if self._answered_at is not None:
                self._diagnostics.answered(self._answered_at)
                self._answered_at = None
        return node

    def _watch_pace(self) -> None:
        """Go on in lockstep if the backend is slower than real time, and say so once."""
        fastest = self._pace_watch.took(self._diagnostics.step_time)
        if fastest is not None and self._pacing.pace is Pace.REALTIME:
            self._pacing.pace = Pace.LOCKSTEP
            sentence = (
                f'{self._backend.name} needs {fastest:.2g} s for a step of '
                f'{self._rig.task.period:.2g} s, so it cannot run in real time; '
                'it runs in lockstep from now on'
            )
            self._rig.message = sentence
            self._diagnostics.warning = sentence
            self._warn(sentence)

    def _backend_fault(self, what: str, error: Exception) -> HiwmError:
        return HiwmError(
            f'{self._backend.name} failed in {what}: {_reason(error)}; '
            'reset the rig or roll it back',
            ErrorCode.MODEL_FAULT,
        )


def _reason(error: Exception) -> str:
    if isinstance(error, HiwmError):
        return error.message
    if isinstance(error, MemoryError):
        return f'there is no memory left ({error})'
    return repr(error)
