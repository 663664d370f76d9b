# SPDX-License-Identifier: Apache-2.0
"""An operator who asks and drives over the graph, without a console."""

from __future__ import annotations

import time

from hiwm_msgs.msg import Action, MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np

from hiwm_core import contract
from hiwm_core.action import Source
from test.probe import Probe

SAMPLE_PERIOD = 0.05  # s, as a page's


def ask(probe: Probe, event: int, phase: int) -> None:
    """An event for the takeover table, and the phase it has to lead to."""
    response = probe.must(contract.TAKEOVER, event=event, operator_id='tester')
    assert response.phase == phase or event == Takeover.Request.EVENT_TAKE_OVER
    probe.until(lambda: probe.mux.phase == phase, f'phase {phase}')


def take_over(probe: Probe, towards: np.ndarray, steps: int) -> None:
    """Take the wheel and drive `steps` corrections, each `towards` (A,) further."""
    probe.must(contract.TAKEOVER, event=Takeover.Request.EVENT_TAKE_OVER, operator_id='tester')
    value = np.array(probe.messages[contract.JOINT_STATES.name][-1].position)
    done, answered = 0, None
    while done < steps:
        state = probe.until(
            lambda seen=answered: (
                probe.state
                if probe.state.mode == RigState.MODE_RUNNING
                and (probe.state.epoch, probe.state.step) != seen
                else None
            ),
            'the rig waits for the operator',
        )
        answered = (state.epoch, state.step)
        value = np.clip(value + towards, probe.task.action_low, probe.task.action_high)
        executed = _drive(probe, value, state)
        done += executed.source == Source.OPERATOR
    assert probe.mux.phase == MuxState.PHASE_CORRECTING


def _drive(probe: Probe, value: np.ndarray, state: RigState) -> Action:
    """What is executed in a state's step while this is asked for, again and again as devices do."""
    sent = 0.0

    def executed() -> Action | None:
        nonlocal sent
        if time.monotonic() > sent + SAMPLE_PERIOD:
            sent = time.monotonic()
            probe.operator.publish(probe.make_action(value, state))
        return next(
            (
                message
                for message in reversed(probe.messages[contract.RIG_EXECUTED.name][-50:])
                if (message.epoch, message.observation_step) == (state.epoch, state.step)
            ),
            None,
        )

    done: Action = probe.until(executed, f'the action for step {state.step} is executed')
    return done
