# SPDX-License-Identifier: Apache-2.0
"""An operator who asks and drives over the graph, without a console."""

from __future__ import annotations

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np

from hiwm_core import contract
from hiwm_core.action import Source
from test.probe import Probe


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
        probe.operator.publish(probe.make_action(value, state))
        executed = probe.until(
            lambda at=answered: next(
                (
                    message
                    for message in reversed(probe.messages[contract.RIG_EXECUTED.name][-50:])
                    if (message.epoch, message.observation_step) == at
                ),
                None,
            ),
            f'the action for step {state.step} is executed',
        )
        done += executed.source == Source.OPERATOR
    assert probe.mux.phase == MuxState.PHASE_CORRECTING
