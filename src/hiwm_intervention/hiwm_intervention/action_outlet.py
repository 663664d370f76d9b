# SPDX-License-Identifier: Apache-2.0
"""What is sent to the rig: choices and holds within limits and reach, labelled and counted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action, Source, clip_values
from hiwm_core.rig import Mode
from hiwm_core.task import Task
from hiwm_intervention.rig_mode import RigView
from hiwm_intervention.slew_limit import SlewLimit

AGREEMENT = 0.25  # of max_step: so near to the arm a leader has been driven before it leads


class ActionOutlet:
    """The last stage before the rig.

    Attributes:
        slew: The limit from one action to the next.
        joints: float64 (J,), measured last; None: nothing yet.
        last: What was sent last.
        operator_drove: Whether an operator's choice was the last in this epoch.
        sent_actions, held_actions: Counted from the start.
    """

    def __init__(self, task: Task) -> None:
        self.slew = SlewLimit(task)
        self.joints: NDArray[np.float64] | None = None
        self.last: Action | None = None
        self.operator_drove = False
        self.sent_actions = self.held_actions = 0
        self._task = task
        self._kept: NDArray[np.float64] | None = None  # what was sent last in this epoch

    def begin(self) -> None:
        """The scene was moved: what was sent before means nothing."""
        self.slew.begin()
        self.operator_drove = False
        self._kept = None

    def see_mode(self, before: RigView, rig: RigView) -> None:
        """The rig has shown another mode: notice whether the arm is moved while it stands."""
        if self.joints is None:
            return
        if rig.mode is Mode.RUNNING:
            self.slew.run(self._hold_values())
        elif before.mode is Mode.RUNNING:
            self.slew.stand(self._hold_values())

    def agrees(self, proposal: Action) -> bool:
        """Whether a leader is where the arm is."""
        away = np.abs(proposal.values - self._hold_values())
        return bool((away <= AGREEMENT * self._task.action_max_step).all())

    def drive(self, proposal: Action, rig: RigView) -> Action:
        """A proposal, as near as limits and reach allow; a ramp towards it is HANDOVER."""
        values = clip_values(self._task, proposal.values)
        values = self.slew.limit(values, self._hold_values(), rig.step)
        self.operator_drove = proposal.source is Source.OPERATOR
        label = Source.HANDOVER if self.slew.joining else proposal.source
        return self._send(values, label, proposal.device, rig)

    def hold(self, rig: RigView) -> Action:
        """The measured position, as near as a step goes."""
        values = self._hold_values()
        self.held_actions += 1
        return self._send(self.slew.near(values, values, rig.step), Source.HOLD, '', rig)

    def _hold_values(self) -> NDArray[np.float64]:
        assert self.joints is not None
        return self._task.hold_action(self.joints, self._kept)

    def _send(
        self, values: NDArray[np.float64], source: Source, device: str, rig: RigView
    ) -> Action:
        action = Action(values, source, rig.epoch, rig.step, device, self.sent_actions)
        self.slew.sent(values, rig.step)
        self.sent_actions += 1
        self.last, self._kept = action, values
        return action
