# SPDX-License-Identifier: Apache-2.0
"""The emergency stop of an arm: trips on a topic or a service, and only a person resets it."""

from __future__ import annotations

from functools import partial
import time
from typing import Any, Protocol

from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from hiwm_core.contract import Quality
from hiwm_rig.base_node import profile_of
from hiwm_rig.steady_clock import STEADY_CLOCK

# Who may stop it: a person's button, and the console's page. Each has to say its level on its own
# topic: on a shared one a dead button would not be missed.
TOPIC, CONSOLE_TOPIC = '/e_stop', '/console/e_stop'
STATE_TOPIC = '/rig/e_stop'
TRIGGER_SERVICE, RESET_SERVICE = '/e_stop_trigger', '/e_stop_reset'
# Deep enough for the 20 s that a reset may keep the executor busy: a press is not overwritten by
# what is said after it.
LEVEL = Quality(reliable=False, depth=500)
PERIOD = 0.1  # s; a lock of the multiplexer has to be repeated within 0.5 s
# s, how long a pressed button counts after it was heard last, whatever another button says there.
PRESSED = 0.5


class Stoppable(Protocol):
    """An arm with a latch."""

    @property
    def stopped(self) -> bool:
        """Whether it is stopped."""
        ...

    def stop(self, reason: str) -> None:
        """Stop it until `reset_stop`; `reason` is one sentence."""
        ...

    def reset_stop(self) -> None:
        """Take it back."""
        ...


class EmergencyStop:
    """Listens, latches, and says what is latched, for late subscribers too.

    Args:
        node: Owns topics and services.
        arm: Is stopped.
    """

    def __init__(self, node: Node, arm: Stoppable) -> None:
        self._node = node
        self._arm = arm
        self._pressed_at = dict.fromkeys((TOPIC, CONSOLE_TOPIC), float('-inf'))
        self._state = node.create_publisher(Bool, STATE_TOPIC, profile_of(Quality(latched=True)))
        self._subscriptions = [
            node.create_subscription(Bool, topic, partial(self._on_level, topic), profile_of(LEVEL))
            for topic in self._pressed_at
        ]
        self._services = [
            node.create_service(Trigger, TRIGGER_SERVICE, self._on_trigger),
            node.create_service(Trigger, RESET_SERVICE, self._on_reset),
        ]
        self._timer = node.create_timer(PERIOD, self._tell, clock=STEADY_CLOCK)

    def destroy(self) -> None:
        """Take it off the graph."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._node.destroy_publisher(self._state)
        for service in self._services:
            self._node.destroy_service(service)

    def _on_level(self, topic: str, message: Bool) -> None:
        if message.data:
            self._pressed_at[topic] = time.monotonic()
            self._stop(f'somebody pressed the emergency stop ({topic})')

    def _on_trigger(self, request: Any, response: Any) -> Any:
        self._stop(f'{TRIGGER_SERVICE} was called')
        response.success = True
        response.message = f'stopped; {RESET_SERVICE} takes it back'
        return response

    def _on_reset(self, request: Any, response: Any) -> Any:
        topic, pressed_at = max(self._pressed_at.items(), key=lambda entry: entry[1])
        if time.monotonic() - pressed_at < PRESSED:
            response.message = (
                f'{topic} was pressed less than {PRESSED} s ago; release it and ask again'
            )
        else:
            self._arm.reset_stop()
            self._tell()
            response.success = True
            response.message = 'the emergency stop is reset; an arm without a fault begins slowly'
        return response

    def _stop(self, reason: str) -> None:
        if not self._arm.stopped:
            self._node.get_logger().error(f'{reason}; call {RESET_SERVICE} to go on')
        self._arm.stop(reason)
        self._tell()

    def _tell(self) -> None:
        self._state.publish(Bool(data=self._arm.stopped))
