# SPDX-License-Identifier: Apache-2.0
"""The multiplexer: one action a step, from the source that the phase puts in charge.

Protocol. When the rig shows a new step, the answer of the source in charge to this very step is
sent as soon as it is there. In realtime it is waited for 60 % of the period; then that source's
newest proposal is sent if it is younger than its timeout, else the measured position is held. In
lockstep it is waited for the source's timeout; then hold. There is one action a step, unless the
rig falls silent in realtime: then hold is repeated every period.

Actions are slew limited; what the limit changes while one source takes over from another is
labelled HANDOVER, so that it is never taken for the choice of either. A proposal that is not
finite, has wrong names or a wrong length is counted and never used; one that answers an older epoch
is not used either.

Nothing here waits, and time is what `clock` says: seconds on a steady clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import math
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action, Source, clip_values, read_values
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task
from hiwm_intervention.mux_status import MuxStatus
from hiwm_intervention.rig_mode import COMMAND_TIMEOUT, Command, RigMode, RigView
from hiwm_intervention.slew_limit import SlewLimit
from hiwm_intervention.sources import POLICY, Lock, MuxSettings, ProposalSource
from hiwm_intervention.takeover import DRIVEN, HELD_BY_OPERATOR, Event, Phase, Takeover

ANSWER_SHARE = 0.6  # of a period: how long realtime waits for the answer to this very step


class Multiplexer:
    """Decides what is sent; see the module's text.

    Args:
        task: Names, limits and the hold of the actions.
        settings: Sources and locks.
        clock: Seconds on a steady clock.
        autonomous_at_start: Give the wheel to the policy once it and the rig are there, unless
            somebody asks for something before.
        wait_for_recorder: Not before `set_recording` says that all is recorded.
        handover_timeout: s, how long a takeover waits for the dead-man to be pressed.
        rig_timeout: s without a new step in realtime, after which hold is repeated.
    """

    def __init__(
        self,
        task: Task,
        settings: MuxSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        autonomous_at_start: bool = True,
        wait_for_recorder: bool = False,
        handover_timeout: float = 5.0,
        rig_timeout: float = 0.5,
    ) -> None:
        self.task = task
        self.takeover = Takeover()
        self._clock = clock
        self._handover_timeout = handover_timeout
        self._rig_timeout = rig_timeout
        self._starting = autonomous_at_start
        self._recording = not wait_for_recorder
        self._sources = {name: ProposalSource(source) for name, source in settings.sources.items()}
        self._policy = self._sources[POLICY]
        self._devices = sorted(
            (source for source in self._sources.values() if source is not self._policy),
            key=lambda source: -source.settings.priority,
        )
        self._locks = {name: Lock(lock) for name, lock in settings.locks.items()}
        self._rig: RigView | None = None
        self._joints: NDArray[np.float64] | None = None
        self._seen_at = -math.inf  # when the rig's newest step came
        self._turn_at = -math.inf  # since when the source in charge may answer it
        self._sent_at = -math.inf
        self._taken_at = -math.inf  # the last takeover
        self._answered: tuple[int, int] | None = None
        self._pressed = False  # the dead-man, since the last takeover
        self._operator_drove = False  # last, in this epoch
        self._unanswerable: tuple[int, int] | None = None  # seen before the hand-back
        self._slew = SlewLimit(task)
        self._rig_mode = RigMode()
        self._last: Action | None = None
        self._holding = False
        self._reason = ''
        self._sent_actions = self._held_actions = self._rejected_actions = 0

    # -- what comes in ---------------------------------------------------------------------------

    def observe(self, rig: RigView) -> None:
        """The rig has shown a frame."""
        now, before = self._clock(), self._rig
        self._rig = rig
        moved = before is not None and rig.epoch != before.epoch
        if before is None or (rig.epoch, rig.step) != (before.epoch, before.step):
            self._seen_at = self._turn_at = now
        elif rig.mode is Mode.RUNNING and before.mode is not Mode.RUNNING:
            # What was sent while the rig came to a stand may not have been taken: answer again.
            self._seen_at = self._turn_at = now
            self._answered = None
        if moved:
            self._discard_past(rig)
        elif not self._rig_mode.settled:
            self._rig_mode.show(rig)
        elif rig.mode is not Mode.RUNNING and self.takeover.observe(Event.RIG_STOPPED):
            self._reason, self._holding = rig.message or 'the rig was paused', False

    def measure(self, joints: NDArray[np.float64]) -> None:
        """The measured joints (J,), in the task's order and units."""
        self._joints = joints

    def executed(self, action: Action) -> None:
        """What the rig really did: the next step is limited from there."""
        if self._rig is not None and action.epoch == self._rig.epoch:
            self._slew.executed(action.values, action.step)

    def propose(
        self, name: str, names: Sequence[str], values: Sequence[float], proposal: Action
    ) -> None:
        """A source proposes an action.

        Args:
            name: The source.
            names: The actions' names, as received.
            values: One for each name, as received.
            proposal: The rest of what was received; its values are replaced.

        Raises:
            HiwmError: It was rejected and counted.
        """
        source = self._sources[name]
        try:
            ordered = read_values(self.task, names, values)
        except HiwmError as error:
            self._rejected_actions += 1
            raise HiwmError(f"the source '{name}': {error.message}") from error
        if self._rig is not None and proposal.epoch < self._rig.epoch:
            return
        label = Source.POLICY if source is self._policy else Source.OPERATOR
        source.take(
            Action(
                ordered,
                label,
                proposal.epoch,
                proposal.step,
                proposal.device,
                proposal.seq,
                proposal.deadman,
            ),
            self._clock(),
        )

    def set_lock(self, name: str, level: bool) -> None:
        """A lock says whether it is set."""
        self._locks[name].take(level, self._clock())

    def set_recording(self, recording: bool) -> None:
        """The recorder says whether every topic goes into the bag."""
        self._recording = self._recording or recording

    def request(self, event: Event, operator_id: str) -> Phase:
        """A person asks for an event; returns the phase afterwards.

        Raises:
            HiwmError: It cannot be; nothing has changed.
        """
        now = self._clock()
        if event is Event.RESET:
            reason = self._lock_reason(now)
            if reason:
                raise HiwmError(f'{reason}; release it before the reset', ErrorCode.ILLEGAL_EVENT)
        if event in {Event.RESUME, Event.TAKE_OVER} and self._rig is None:
            raise HiwmError('no rig has been heard yet; start one first', ErrorCode.NOT_READY)
        phase = self.takeover.request(event, operator_id)
        self._starting = False
        who = f" by '{operator_id}'" if operator_id else ''
        self._entered(f'{event.name.lower().replace("_", " ")}{who}')
        if event is Event.RESUME:
            self._hand_back()
        elif event is Event.TAKE_OVER:
            self._begin_handover(now)
        return phase

    # -- the rig's mode --------------------------------------------------------------------------

    def next_command(self) -> Command | None:
        """What to ask the rig now; one question at a time, the next when it is settled."""
        return self._rig_mode.next_command(self._clock())

    def command_failed(self, command: Command, sentence: str) -> None:
        """The rig refused, or did not answer."""
        if self._rig_mode.refused(command):
            if command is Command.RESUME:
                self.takeover.observe(Event.RIG_STOPPED)
            self._reason = f'the rig could not {command.value}: {sentence}'

    # -- what goes out ---------------------------------------------------------------------------

    def poll(self) -> Action | None:
        """The action to send now, if one is due. Call it after every input and at a steady rate."""
        now = self._clock()
        self._check_locks(now)
        self._check_command(now)
        self._check_deadman(now)
        self._check_start()
        rig = self._rig
        if rig is None or self._joints is None or rig.mode is not Mode.RUNNING:
            return None
        if self._answered == (rig.epoch, rig.step):
            silent = now - self._seen_at > self._rig_timeout
            if rig.pace is Pace.REALTIME and silent and now - self._sent_at >= rig.period:
                return self._hold(now, 'the rig shows nothing new')
            return None
        if self.takeover.phase not in DRIVEN:
            # Time runs although nobody drives. In lockstep it need not, if a pause is under way.
            lockstep = rig.pace is Pace.LOCKSTEP
            if lockstep and (self._rig_mode.pausing or now - self._turn_at < rig.period):
                return None
            return self._hold(now)
        return self._answer(rig, now)

    def status(self) -> MuxStatus:
        """Who drives."""
        now, last = self._clock(), self._last
        ages = [source.age(now) for source in self._devices]
        return MuxStatus(
            phase=self.takeover.phase,
            source=last.source if last else Source.NONE,
            operator_id=self.takeover.operator_id,
            device=last.device if last else '',
            holding=self._holding,
            reason=self._reason,
            epoch=self._rig.epoch if self._rig else 0,
            step=self._answered[1] if self._answered else 0,
            sent_actions=self._sent_actions,
            held_actions=self._held_actions,
            rejected_actions=self._rejected_actions,
            policy_age=self._policy.age(now),
            operator_age=min((age for age in ages if not math.isnan(age)), default=math.nan),
        )

    # -- within ----------------------------------------------------------------------------------

    def _answer(self, rig: RigView, now: float) -> Action | None:
        """The action for a step that has none yet, in a phase in which somebody drives."""
        if self._unanswerable == (rig.epoch, rig.step):
            return self._hold(now)
        source = self._in_charge(now)
        proposal = source.proposal
        if proposal is not None and (not proposal.deadman or proposal.epoch != rig.epoch):
            proposal = None
        # The policy's answer to this very step does not age while the rig stands still.
        fresh = source.is_fresh(now)
        if proposal is not None and proposal.step == rig.step and (fresh or source is self._policy):
            return self._drive(proposal, rig, now)
        waited = now - self._turn_at
        if rig.pace is Pace.LOCKSTEP:
            if waited < source.settings.timeout:
                return None
        elif waited < ANSWER_SHARE * rig.period:
            return None
        elif proposal is not None and fresh and not self._precedes_hand_back(proposal):
            return self._drive(proposal, rig, now)
        return self._hold(now, f"the source '{source.settings.name}' is silent")

    def _in_charge(self, now: float) -> ProposalSource:
        """The policy, or the first device whose dead-man is pressed."""
        if self.takeover.phase not in HELD_BY_OPERATOR:
            return self._policy
        for device in self._devices:
            if device.is_fresh(now) and device.proposal is not None and device.proposal.deadman:
                return device
        return self._devices[0]

    def _drive(self, proposal: Action, rig: RigView, now: float) -> Action:
        """Send a proposal, within limits and reach."""
        assert self._joints is not None
        values = clip_values(self.task, proposal.values)
        values = self._slew.limit(values, self.task.hold_action(self._joints))
        if self._holding:
            self._reason, self._holding = '', False
        if not self._slew.joining and self.takeover.observe(Event.ALIGNED):
            self._reason = 'the operator is within reach'
        self._operator_drove = proposal.source is Source.OPERATOR
        label = Source.HANDOVER if self._slew.joining else proposal.source
        return self._send(values, label, proposal.device, rig, now)

    def _hold(self, now: float, silence: str = '') -> Action:
        """Send the measured position; a silence that makes it necessary is told."""
        assert self._rig is not None and self._joints is not None
        if silence and self.takeover.phase in DRIVEN:
            self._reason, self._holding = silence, True
        self._held_actions += 1
        return self._send(self.task.hold_action(self._joints), Source.HOLD, '', self._rig, now)

    def _send(
        self, values: NDArray[np.float64], source: Source, device: str, rig: RigView, now: float
    ) -> Action:
        action = Action(values, source, rig.epoch, rig.step, device, self._sent_actions)
        self._slew.sent(values, rig.step)
        self._answered = (rig.epoch, rig.step)
        self._sent_at = now
        self._sent_actions += 1
        self._last = action
        return action

    def _begin_handover(self, now: float) -> None:
        """The operator has to speak anew, and begins at the measured position."""
        for device in self._devices:
            device.clear()
        self._taken_at = now
        self._pressed = False
        self._slew.begin(joining=True)
        self._unanswerable = None

    def _hand_back(self) -> None:
        """After an operator, the policy begins with a step that it sees from now on."""
        self._unanswerable = None
        if self._operator_drove and self._rig is not None:
            self._unanswerable = (self._rig.epoch, self._rig.step)
            self._slew.begin(joining=True)

    def _precedes_hand_back(self, proposal: Action) -> bool:
        return (
            self._unanswerable is not None
            and proposal.source is Source.POLICY
            and (proposal.epoch, proposal.step) <= self._unanswerable
        )

    def _discard_past(self, rig: RigView) -> None:
        """The scene was moved: what anybody said of the old one is void."""
        for source in self._sources.values():
            if source.proposal is not None and source.proposal.epoch != rig.epoch:
                source.clear()
        self._slew.begin()
        self._operator_drove = self._pressed = False
        self._unanswerable = None
        if self.takeover.observe(Event.DISCONTINUITY):
            self._reason, self._holding = 'the scene was moved', False
        self._rig_mode.forget(rig)

    def _entered(self, reason: str) -> None:
        """The phase has changed: the rig has to run or to stand accordingly."""
        self._reason, self._holding = reason, False
        self._turn_at = self._clock()
        if self._rig is None:
            return
        if self.takeover.phase in DRIVEN:
            self._rig_mode.run(self._rig)
        else:
            self._rig_mode.stand(self._rig)

    def _check_locks(self, now: float) -> None:
        reason = self._lock_reason(now)
        if not reason:
            return
        if self.takeover.phase is Phase.LOCKED:
            self._reason = reason
        elif self.takeover.observe(Event.LOCK):
            self._starting = False
            self._entered(reason)

    def _lock_reason(self, now: float) -> str:
        """What the lock of the highest priority says; empty if none is set."""
        by_priority = sorted(self._locks.values(), key=lambda lock: -lock.settings.priority)
        return next((reason for lock in by_priority if (reason := lock.reason(now))), '')

    def _check_command(self, now: float) -> None:
        command = self._rig_mode.overdue(now)
        if command is not None:
            self.command_failed(command, f'it did not do so within {COMMAND_TIMEOUT:g} s')

    def _check_deadman(self, now: float) -> None:
        if self.takeover.phase not in HELD_BY_OPERATOR:
            return
        spoken = [one.proposal for one in self._devices if one.is_fresh(now) and one.proposal]
        if any(proposal.deadman for proposal in spoken):
            self._pressed = True
            return
        if self._pressed:
            reason = (
                'the operator let go of the dead-man'
                if spoken
                else "the samples of the operator's dead-man stay away"
            )
        elif now - self._taken_at > self._handover_timeout:
            reason = f'nobody pressed the dead-man within {self._handover_timeout:g} s'
        else:
            return
        if self.takeover.observe(Event.OPERATOR_LOST):
            self._entered(reason)

    def _check_start(self) -> None:
        """The first time that policy, rig and recorder are all there."""
        proposal = self._policy.proposal
        ready = self._starting and self._recording
        if not ready or self._rig is None or proposal is None:
            return
        if proposal.epoch == self._rig.epoch and self.takeover.phase is Phase.PAUSED:
            self._starting = False
            self.takeover.request(Event.RESUME, '')
            self._entered('the policy is ready')
