# SPDX-License-Identifier: Apache-2.0
"""What makes a rig's steps: the backend behind one worker thread, and each step's publication.

The executor's thread calls in (`tick`, `receive`, the services' methods), the worker computes. Both
share the rig under `lock`. The worker does not hold it while the backend computes, so a slow
backend delays its own frames and nothing else; only steps asked for by hand are computed in the
caller's thread, which nothing competes with since the rig is paused.
"""

from __future__ import annotations

from collections.abc import Callable
import threading
from typing import Any

from hiwm_msgs.msg import TreeEvent
import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action
from hiwm_core.backend import Backend
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.observation import Observation
from hiwm_core.rig import Mode, Pace, Rig, StepRequest
from hiwm_core.rollout_tree import Node
from hiwm_rig.diagnostics import Diagnostics
from hiwm_rig.rig_publisher import RigPublisher

LONGEST_STEP = 10.0  # s, how long a pause waits for the step in progress


class Stepper:
    """The steps of one rig.

    Args:
        rig: Where it stands; shared with the caller under `lock`.
        backend: Gets one call at a time.
        pace: When a step is due.
        topics: Where each step is shown.
        diagnostics: Told of every step's duration.
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
        pace: Pace,
        topics: RigPublisher,
        diagnostics: Diagnostics,
        report: Callable[[str], Any],
        halt: Callable[[Exception], None],
    ) -> None:
        self.lock = threading.RLock()
        self._rig = rig
        self._backend = backend
        self._pace = pace
        self._topics = topics
        self._diagnostics = diagnostics
        self._report = report
        self._halt = halt
        self._changed = threading.Condition(self.lock)
        # May be taken while `lock` is held, never the other way round.
        self._backend_lock = threading.Lock()
        self._due = False  # realtime: a period has begun whose step has not
        self._busy = False  # a step is being computed
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
            if running and self._pace is Pace.REALTIME:
                if self._due or self._busy:
                    self._rig.missed_deadlines += 1
                else:
                    self._due = True
                    self._changed.notify_all()
            elif not self._busy and (not running or self._topics.idle_time > self._rig.task.period):
                self._topics.show_head()

    def receive(self, action: Action) -> None:
        """Take an action in, which in lockstep may be what the next step waits for."""
        with self.lock:
            if self._rig.receive(action):
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
                self._topics.show_head()

    def step_by_hand(self, count: int) -> None:
        """Make steps now; raises HiwmError unless the rig is paused, or if a step fails."""
        with self.lock:
            if self._rig.head and self._rig.mode is not Mode.PAUSED:
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
                    observation = self._backend.reset(scene, key)
            except Exception as error:
                raise self._backend_fault('a reset', error) from error
            return self._rig.reset(observation, key)

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
        return self._due if self._pace is Pace.REALTIME else self._rig.answered

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
                return self._backend.step(request.history, request.action.values, request.key)
        except Exception as error:
            raise self._backend_fault('a step', error) from error

    def _finish(self, request: StepRequest, observation: Observation) -> Node | None:
        left = self._rig.branch
        node = self._rig.finish_step(request, observation)
        if node is not None:
            if node.branch != left:
                fork = self._rig.tree.node(request.node)
                self._topics.tell(TreeEvent.KIND_BRANCH, fork, node.branch, from_node=fork.id)
            self._topics.show(node, executed=request.action)
        return node

    def _backend_fault(self, what: str, error: Exception) -> HiwmError:
        reason = error.message if isinstance(error, HiwmError) else repr(error)
        return HiwmError(
            f'{self._backend.name} failed in {what}: {reason}; reset the rig or roll it back',
            ErrorCode.MODEL_FAULT,
        )
