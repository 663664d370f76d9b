# SPDX-License-Identifier: Apache-2.0
"""The multiplexer: one action a step, from the source that the phase puts in charge.

Protocol. When the rig shows a new step, the answer of the source in charge to this very step is
sent as soon as it is there. In realtime it is waited for 60 % of the period; then its answer to the
step before is sent once more, if it is younger than its timeout, else the measured position is
held. In lockstep it is waited for the source's timeout; then hold. There is one action a step,
unless the rig falls silent in realtime: then hold is repeated every period.

Actions are slew limited; what the limit changes while one source takes over from another is
labelled HANDOVER, so that it is never taken for the choice of either. An actuated leader is driven
to the arm first, which is held meanwhile. A proposal that is not finite, has wrong names or a wrong
length is counted and never used; one that answers an older epoch is not used either.

Where the rig can let time stand still, a step that the operator answers with no motion is not
answered: it waits for one.

Nothing here waits, and time is what `clock` says: seconds on a steady clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
import time

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action, Source, read_values
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task
from hiwm_intervention.action_outlet import ActionOutlet
from hiwm_intervention.mux_status import MuxStatus
from hiwm_intervention.operator_seat import OperatorSeat
from hiwm_intervention.recording_gate import RecordingGate
from hiwm_intervention.rig_mode import COMMAND_TIMEOUT, Command, RigMode, RigView
from hiwm_intervention.rig_pace import RigPace
from hiwm_intervention.sources import POLICY, Handover, Locks, MuxSettings, ProposalSource
from hiwm_intervention.takeover import DRIVEN, HELD_BY_OPERATOR, Event, Phase, Takeover
from hiwm_intervention.trigger import Trigger, TriggerWatch
from hiwm_intervention.turn import Turn

ANSWER_SHARE = 0.6  # of a period: how long realtime waits for the answer to this very step
# So many steps after the one that it answers a proposal may be sent in realtime. A source that is
# late or gone is thus held for within a tick, however young its newest word is.
REPEATED_STEPS = 1


class Multiplexer:
    """Decides what is sent; see the module's text.

    Args:
        task: Names, limits and the hold of the actions.
        settings: Sources and locks.
        clock: Seconds on a steady clock.
        autonomous_at_start: Give the wheel to the policy once it and the rig are there, unless
            somebody asks for something before.
        wait_for_recorder: Nobody drives before `set_recording` says that all is recorded.
        handover_timeout: s, how long a takeover waits for the dead-man to be pressed.
        rig_timeout: s without a new step in realtime, after which hold is repeated.
        on_input: Let time stand still while an operator who drives commands no motion, on a rig
            that can.

    Attributes:
        takeover: The phase and the operator's token.
        watch: The triggers, and the nodes that they want kept under a name.
        rig_pace: How time is to advance on the rig, and asking for it.
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
        on_input: bool = True,
    ) -> None:
        self.task = task
        self.takeover = Takeover(clock)
        self._clock = clock
        self._rig_timeout = rig_timeout
        self._starting = autonomous_at_start
        self._recording = RecordingGate(waits=wait_for_recorder)
        self._sources = {name: ProposalSource(source) for name, source in settings.sources.items()}
        self._policy = self._sources[POLICY]
        devices = [source for source in self._sources.values() if source is not self._policy]
        self._seat = OperatorSeat(devices, handover_timeout)
        self._locks = Locks(settings.locks)
        self.watch = TriggerWatch(settings.triggers, task.success_above)
        self._rig: RigView | None = None
        self._turn = Turn()
        self._unanswerable: tuple[int, int] | None = None  # seen before the hand-back
        self._outlet = ActionOutlet(task)
        self._rig_mode = RigMode()
        self.rig_pace = RigPace(clock, on_input=on_input)
        self._holding = self._waiting = False
        self._reason = ''
        self._rejected_actions = 0

    # -- what comes in ---------------------------------------------------------------------------

    def observe(self, rig: RigView) -> None:
        """The rig has shown a frame."""
        before, self._rig = self._rig, rig
        self.rig_pace.show(rig)
        stepped = self._turn.show(before, rig, self._clock())
        if before is not None and rig.epoch != before.epoch:
            self._discard_past(rig)
        elif not self._rig_mode.settled:
            self._rig_mode.show(rig)
        elif rig.mode is not Mode.RUNNING and self.takeover.observe(Event.RIG_STOPPED):
            self._entered(rig.message or 'the rig was paused')
        if before is not None and before.mode is not rig.mode:
            self._outlet.see_mode(before, rig)
        if stepped and rig.mode is Mode.RUNNING:
            self._look_out(Trigger.FIDELITY, rig.fidelity)
            self._look_out(Trigger.STALL, rig.progress)

    def measure(self, joints: NDArray[np.float64]) -> None:
        """The measured joints (J,), in the task's order and units."""
        self._outlet.joints = joints

    def executed(self, action: Action) -> None:
        """What the rig really did: the next step is limited from there."""
        if self._rig is not None and action.epoch == self._rig.epoch:
            self._outlet.slew.executed(action.values, action.step)

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
        now = self._clock()
        if source is not self._policy:
            self._seat.take(source, now, deadman=proposal.deadman)
        label = Source.POLICY if source is self._policy else Source.OPERATOR
        source.take(replace(proposal, values=ordered, source=label), now)

    def set_lock(self, name: str, level: bool) -> None:
        """A lock says whether it is set."""
        self._locks.take(name, level, self._clock())

    def set_recording(self, recording: bool, fault: str = '') -> None:
        """The recorder says whether every topic goes into the bag, or why it has failed."""
        failed = self._recording.see(recording, fault)
        if failed and self.takeover.observe(Event.RECORDING_FAILED):
            self._entered(f'the recording has failed: {fault}')

    def request(self, event: Event, operator_id: str) -> Phase:
        """A person asks for an event; returns the phase afterwards.

        Raises:
            HiwmError: It cannot be; nothing has changed.
        """
        if event is Event.RESET:
            reason = self._locks.reason(self._clock())
            if reason:
                raise HiwmError(f'{reason}; release it before the reset', ErrorCode.ILLEGAL_EVENT)
        if event in {Event.RESUME, Event.TAKE_OVER}:
            if self._rig is None:
                raise HiwmError('no rig has been heard yet; start one first', ErrorCode.NOT_READY)
            self._recording.check()
        phase = self.takeover.request(event, operator_id)
        if event is Event.ASK or (event is Event.RELEASE and phase in HELD_BY_OPERATOR):
            # A question, or its end: nothing else changes.
            return phase
        self._starting = False
        who = f" by '{operator_id}'" if operator_id else ''
        self._entered(f'{event.name.lower().replace("_", " ")}{who}')
        if event in {Event.RESUME, Event.TAKE_OVER}:
            self._change_source(event)
        return phase

    # -- what the rig is asked for ---------------------------------------------------------------

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

    @property
    def target(self) -> NDArray[np.float64] | None:
        """The joints (J,) that an actuated leader is to be driven to; None: it is not."""
        joining = self.takeover.phase in HELD_BY_OPERATOR and self._outlet.slew.joining
        return self._outlet.joints if joining and self._seat.is_aligning else None

    def poll(self) -> Action | None:
        """The action to send now, if one is due. Call it after every input and at a steady rate."""
        now = self._clock()
        self._check_locks(now)
        command = self._rig_mode.overdue(now)
        if command is not None:
            self.command_failed(command, f'it did not do so within {COMMAND_TIMEOUT:g} s')
        self._check_deadman(now)
        self._check_start()
        self.rig_pace.wish(correcting=self.takeover.phase is Phase.CORRECTING)
        self._waiting = False
        rig = self._rig
        if rig is None or self._outlet.joints is None or rig.mode is not Mode.RUNNING:
            return None
        if self._turn.answered == (rig.epoch, rig.step):
            overdue = self._turn.is_overdue(rig, now, self._rig_timeout)
            if rig.pace is Pace.REALTIME and overdue:
                return self._hold(rig, now, 'the rig shows nothing new')
            return None
        if self.takeover.phase not in DRIVEN:
            # Time runs although nobody drives. In lockstep it need not, if a pause is under way.
            if rig.pace is Pace.LOCKSTEP and self._rig_mode.pausing:
                return None
            return self._pass_time(rig, now)
        return self._answer(rig, now)

    def status(self) -> MuxStatus:
        """Who drives."""
        now, outlet, last = self._clock(), self._outlet, self._outlet.last
        return MuxStatus(
            phase=self.takeover.phase,
            source=last.source if last else Source.NONE,
            operator_id=self.takeover.operator_id,
            device=last.device if last else '',
            holding=self._holding,
            reason=self._reason,
            epoch=self._rig.epoch if self._rig else 0,
            step=self._turn.answered[1] if self._turn.answered else 0,
            sent_actions=outlet.sent_actions,
            held_actions=outlet.held_actions,
            rejected_actions=self._rejected_actions,
            waiting=self._waiting,
            human_time=self.takeover.human_time,
            asked_by=self.takeover.asked_by,
            trigger=self.watch.fired,
            policy_age=self._policy.age(now),
            operator_age=self._seat.age(now),
        )

    # -- within ----------------------------------------------------------------------------------

    def _answer(self, rig: RigView, now: float) -> Action | None:
        """The action for a step that has none yet, in a phase in which somebody drives."""
        if self._unanswerable == (rig.epoch, rig.step):
            return self._hold(rig, now)
        held = self.takeover.phase in HELD_BY_OPERATOR
        source = self._seat.in_charge if held else self._policy
        proposal = source.proposal
        if proposal is not None and self._is_void(proposal, rig):
            proposal = None
        # The policy's answer to this very step does not age while the rig stands still.
        fresh = source.is_fresh(now)
        if proposal is not None and fresh and proposal.idle and self.rig_pace.stands_still:
            self._waiting = True
            return None
        if proposal is not None and proposal.step == rig.step and (fresh or source is self._policy):
            return self._drive(proposal, source, rig, now)
        waited = self._turn.waited(now)
        if rig.pace is Pace.LOCKSTEP:
            if waited < source.settings.timeout:
                return None
        elif waited < ANSWER_SHARE * rig.period:
            return None
        elif proposal is not None and fresh and proposal.step >= rig.step - REPEATED_STEPS:
            return self._drive(proposal, source, rig, now)
        how = 'late' if proposal is not None and fresh else 'silent'
        return self._hold(rig, now, f"the source '{source.settings.name}' is {how}")

    def _drive(
        self, proposal: Action, source: ProposalSource, rig: RigView, now: float
    ) -> Action | None:
        """Send a proposal; none, if it makes a trigger fire, or is a leader's on its way."""
        if self._look_out(Trigger.SPREAD, proposal.spread):
            return None
        actuated = source.settings.handover is Handover.ACTUATED
        if actuated and self._outlet.slew.joining and not self._outlet.agrees(proposal):
            self._reason = 'the leader is driven to the arm'
            return self._pass_time(rig, now)
        action = self._outlet.drive(proposal, rig)
        if self._holding:
            self._reason, self._holding = '', False
        if not self._outlet.slew.joining and self.takeover.observe(Event.ALIGNED):
            self._reason = 'the operator is within reach'
        self._turn.send(rig, now)
        return action

    def _hold(self, rig: RigView, now: float, silence: str = '') -> Action:
        """Send the measured position; a silence that makes it necessary is told."""
        if silence and self.takeover.phase in DRIVEN:
            self._reason, self._holding = silence, True
        self._turn.send(rig, now)
        return self._outlet.hold(rig)

    def _pass_time(self, rig: RigView, now: float) -> Action | None:
        """Hold, in lockstep once a period: nobody commands anything now."""
        if rig.pace is Pace.LOCKSTEP and self._turn.waited(now) < rig.period:
            return None
        return self._hold(rig, now)

    def _change_source(self, event: Event) -> None:
        """An operator has to speak anew; after one, the policy begins with a step it sees now."""
        self._unanswerable = None
        if event is Event.TAKE_OVER:
            self._seat.open(self._clock())
            self._outlet.slew.join()
        elif self._outlet.operator_drove and self._rig is not None:
            self._unanswerable = (self._rig.epoch, self._rig.step)
            self._outlet.slew.join()

    def _is_void(self, proposal: Action, rig: RigView) -> bool:
        """Whether it is of another scene, from before the hand-back, or from an open hand."""
        if proposal.epoch != rig.epoch or not proposal.deadman:
            return True
        if proposal.source is Source.OPERATOR:
            return self._seat.holder is None
        seen = (proposal.epoch, proposal.step)
        return self._unanswerable is not None and seen <= self._unanswerable

    def _discard_past(self, rig: RigView) -> None:
        """The scene was moved: what anybody said of the old one is void."""
        for source in self._sources.values():
            if source.proposal is not None and source.proposal.epoch != rig.epoch:
                source.clear()
        self._outlet.begin()
        self.watch.clear()
        self._unanswerable = None
        if self.takeover.phase in HELD_BY_OPERATOR:
            self._seat.empty()
        if self.takeover.observe(Event.DISCONTINUITY):
            self._reason, self._holding = 'the scene was moved', False
        self._rig_mode.forget(rig)

    def _entered(self, reason: str) -> None:
        """The phase has changed: the rig has to run or to stand accordingly."""
        self._reason, self._holding = reason, False
        self.watch.begin()
        self._turn.begin(self._clock())
        if self._rig is not None:
            driven = self.takeover.phase in DRIVEN
            (self._rig_mode.run if driven else self._rig_mode.stand)(self._rig)

    def _check_locks(self, now: float) -> None:
        reason = self._locks.reason(now)
        if reason and self.takeover.phase is Phase.LOCKED:
            self._reason = reason
        elif reason and self.takeover.observe(Event.LOCK):
            self._starting = False
            self._entered(reason)

    def _check_deadman(self, now: float) -> None:
        if self.takeover.phase not in HELD_BY_OPERATOR:
            return
        if self._seat.update(now):
            self._outlet.slew.join()
        reason = self._seat.loss(now)
        if reason and self.takeover.observe(Event.OPERATOR_LOST):
            self._entered(reason)

    def _look_out(self, trigger: Trigger, value: float) -> bool:
        """See a trigger's number of one more step of the policy; returns whether it fires."""
        rig = self._rig
        if rig is None or self.takeover.phase is not Phase.AUTONOMOUS:
            return False
        reason = self.watch.see(trigger, value)
        if not reason or not self.takeover.observe(Event.TRIGGERED):
            return False
        self._entered(reason)
        self.watch.fire(trigger, rig.node, rig.step)
        return True

    def _check_start(self) -> None:
        """The first time that policy, rig and recorder are all there."""
        proposal = self._policy.proposal
        ready = self._starting and self._recording.is_open
        if not ready or self._rig is None or proposal is None:
            return
        if proposal.epoch == self._rig.epoch and self.takeover.phase is Phase.PAUSED:
            self._starting = False
            self.takeover.request(Event.RESUME, '')
            self._entered('the policy is ready')
