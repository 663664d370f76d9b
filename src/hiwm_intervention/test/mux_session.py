# SPDX-License-Identifier: Apache-2.0
"""A multiplexer with everybody around it, on a clock that the test holds in its hand."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Action, Source
from hiwm_core.rig import Mode, Pace
from hiwm_core.task import Task, load_task
from hiwm_intervention.action_mux import Multiplexer
from hiwm_intervention.rig_mode import Command, RigView
from hiwm_intervention.sources import MuxSettings, read_settings
from hiwm_intervention.takeover import Event, Phase
from hiwm_rig.pacing import Advance

SETTINGS = read_settings(Path(__file__).parents[1] / 'config' / 'action_mux.yaml')
POLICY_TIMEOUT = SETTINGS.sources['policy'].timeout
OPERATOR_TIMEOUT = SETTINGS.sources['operator'].timeout
MIDDLE = np.array([0.25, 0.25])


class Session:
    """A multiplexer, its clock, and a rig that shows and obeys."""

    def __init__(
        self,
        pace: Pace = Pace.REALTIME,
        *,
        autonomous_at_start: bool = False,
        wait_for_recorder: bool = False,
        settings: MuxSettings = SETTINGS,
        can_pause: bool = True,
        can_set_pace: bool = False,
        on_input: bool = True,
    ) -> None:
        self.now = 1000.0
        self.task: Task = load_task('pusht')
        self.mux = Multiplexer(
            self.task,
            settings,
            clock=lambda: self.now,
            autonomous_at_start=autonomous_at_start,
            wait_for_recorder=wait_for_recorder,
            on_input=on_input,
        )
        self.joints = MIDDLE.copy()
        self.sent: list[Action] = []
        self.asked: list[Advance] = []
        self.rig = RigView(
            epoch=1,
            step=0,
            mode=Mode.PAUSED,
            pace=pace,
            period=self.task.period,
            can_pause=can_pause,
            can_set_pace=can_set_pace,
        )

    @property
    def phase(self) -> Phase:
        return self.mux.takeover.phase

    def poll(self) -> Action | None:
        sent = self.mux.poll()
        if sent is not None:
            self.sent.append(sent)
        return sent

    def show(self, **changes: object) -> Action | None:
        """The rig shows a state; returns what the multiplexer sends then."""
        self.rig = replace(self.rig, **changes)  # type: ignore[arg-type]
        self.mux.measure(self.joints)
        self.mux.observe(self.rig)
        return self.poll()

    def next_step(self) -> Action | None:
        return self.show(step=self.rig.step + 1)

    def obey(self) -> None:
        """The rig does what it is asked, and shows it."""
        command = self.mux.next_command()
        while command is not None:
            self.show(mode={Command.PAUSE: Mode.PAUSED, Command.RESUME: Mode.RUNNING}[command])
            command = self.mux.next_command()
        advance = self.mux.rig_pace.next_question()
        if advance is not None:
            self.asked.append(advance)
            self.show(advance=advance)

    def propose(
        self,
        name: str,
        values: NDArray[np.float64] = MIDDLE,
        *,
        epoch: int | None = None,
        step: int | None = None,
        deadman: bool = True,
        names: tuple[str, ...] | None = None,
        idle: bool = False,
        spread: float = math.nan,
    ) -> Action | None:
        proposal = Action(
            np.empty(0),
            Source.NONE,
            epoch=self.rig.epoch if epoch is None else epoch,
            step=self.rig.step if step is None else step,
            device=name,
            deadman=deadman,
            idle=idle,
            spread=spread,
        )
        self.mux.propose(name, names or self.task.action_names, list(values), proposal)
        return self.poll()

    def wait(self, seconds: float) -> Action | None:
        self.now += seconds
        return self.poll()

    def drive(self, event: Event, operator_id: str = 'ada') -> None:
        """A request that makes the rig run."""
        self.show()
        self.mux.request(event, operator_id)
        self.obey()
        assert self.rig.mode is Mode.RUNNING


def policy_driven(pace: Pace = Pace.REALTIME, settings: MuxSettings = SETTINGS) -> Session:
    """The policy has the wheel."""
    session = Session(pace, settings=settings)
    session.drive(Event.RESUME)
    assert session.phase is Phase.AUTONOMOUS
    return session


def operator_driven(pace: Pace = Pace.REALTIME) -> Session:
    """An operator's page has the wheel."""
    session = Session(pace)
    session.drive(Event.TAKE_OVER)
    sent = session.propose('operator')
    assert sent is not None
    assert sent.source is Source.OPERATOR
    assert session.phase is Phase.CORRECTING
    return session


def only(action: Action | None) -> Action:
    """The action that was sent."""
    assert action is not None, 'nothing was sent'
    return action
