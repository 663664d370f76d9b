# SPDX-License-Identifier: Apache-2.0
"""A session that is kept going: what a person would do to put right what has stopped."""

from __future__ import annotations

import time

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
from std_srvs.srv import Trigger

from hiwm_core import contract
from test.probe import PATIENCE, Probe
from test.process import Process

E_STOP_RESET = '/e_stop_reset'
LOOK = 0.1  # s
# s, after which what has led to nothing is asked for again.
ASK_AGAIN = 0.5


class DrivenSession:
    """A session of any rig.

    Args:
        process: The launch.
        probe: Hears everything.
    """

    def __init__(self, process: Process, probe: Probe) -> None:
        self.process = process
        self.probe = probe

    @property
    def drives(self) -> bool:
        """Whether the policy drives."""
        probe = self.probe
        return bool(
            probe.states
            and probe.messages[contract.MUX_STATE.name]
            and probe.state.mode == RigState.MODE_RUNNING
            and probe.mux.phase == MuxState.PHASE_AUTONOMOUS
        )

    def go_on(self, patience: float = PATIENCE) -> None:
        """Reset what has stopped, give the policy the wheel, and see that it drives."""
        deadline = time.monotonic() + patience
        asked = 0.0
        while not self.drives:
            assert time.monotonic() < deadline, f'it does not go on: {self.words()}'
            assert not self._has_ended(), f'the session has ended: {self.words()}'
            if time.monotonic() - asked > ASK_AGAIN and self._is_up():
                self._ask()
                asked = time.monotonic()
            time.sleep(LOOK)
        done = self.probe.state.executed_actions
        while self.probe.state.executed_actions <= done and self.drives:
            assert time.monotonic() < deadline, f'nobody drives: {self.words()}'
            time.sleep(LOOK)

    def is_stopped(self) -> bool:
        """Whether the rig says that something is wrong."""
        return bool(self.probe.states and self.probe.state.message)

    def words(self) -> str:
        """For a failure: what rig and log say."""
        said = self.probe.state.message if self.probe.states else 'the rig has said nothing'
        return f'{said}; {self.process.text[-2000:]}'

    def _is_up(self) -> bool:
        return bool(self.probe.states and self.probe.messages[contract.MUX_STATE.name])

    def _ask(self) -> None:
        """One round of what a person would do; what is refused is asked again later."""
        probe = self.probe
        assert not self._has_ended(), f'the session has ended: {self.words()}'
        if self.is_stopped() and 'stop' in probe.state.message:
            self._trigger(E_STOP_RESET)
        if probe.state.mode == RigState.MODE_FAULT:
            answer = probe.call(contract.RESET, seed=0)
            if 'emergency stop is set' in answer.message:
                self._trigger(E_STOP_RESET)
            elif answer.success:
                probe.until(
                    lambda: probe.state.epoch >= answer.epoch or self._has_ended(),
                    'the rig shows itself after the reset',
                )
            return
        if probe.mux.phase == MuxState.PHASE_LOCKED:
            probe.call(contract.TAKEOVER, event=Takeover.Request.EVENT_RESET)
        probe.call(contract.TAKEOVER, event=Takeover.Request.EVENT_RESUME)

    def _has_ended(self) -> bool:
        return self.process.child.poll() is not None

    def _trigger(self, service: str) -> None:
        client = self.probe.node.create_client(Trigger, service)
        if client.wait_for_service(timeout_sec=PATIENCE):
            client.call_async(Trigger.Request())
        time.sleep(LOOK)
        self.probe.node.destroy_client(client)
