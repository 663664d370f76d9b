# SPDX-License-Identifier: Apache-2.0
"""Service requests of the console: asked without waiting, answered once, never forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import time

from rclpy.node import Node
from rclpy.task import Future

from hiwm_core import contract
from hiwm_core.contract import Service
from hiwm_intervention.console_call import Call, Outcome
from hiwm_rig.base_node import client, interface
from hiwm_rig.steady_clock import STEADY_CLOCK

ANSWER_TIMEOUT = 20.0  # s for a service to answer
# s for a service to be found. A node's topics are heard up to a second before its services are
# found, and a person is quicker than that.
FIND_TIMEOUT = 2.0
FIND_PERIOD = 0.05  # s


@dataclass(frozen=True)
class _Waiting:
    """A service that has not answered yet."""

    future: Future
    service: Service
    deadline: float
    settle: Callable[[Outcome], None]


@dataclass(frozen=True)
class _Unsent:
    """A call whose service has not been found yet."""

    call: Call
    deadline: float
    settle: Callable[[Outcome], None]


class Requests:
    """The clients of one node.

    Args:
        node: Owns the clients.
        services: That may be called.
    """

    def __init__(self, node: Node, services: Iterable[Service]) -> None:
        self._callers = {service: client(node, service) for service in services}
        self._waiting: list[_Waiting] = []
        self._unsent: list[_Unsent] = []
        self._finder = node.create_timer(FIND_PERIOD, self._find, clock=STEADY_CLOCK)
        self._finder.cancel()

    def is_ready(self, service: Service) -> bool:
        """Whether somebody offers it."""
        return bool(self._callers[service].service_is_ready())

    def send(self, call: Call, settle: Callable[[Outcome], None]) -> None:
        """Call a service; `settle` gets its answer, or a sentence in its place.

        Calls of one service are made in the order of asking.
        """
        if self._is_sought(call.service) or not self.is_ready(call.service):
            self._unsent.append(_Unsent(call, time.monotonic() + FIND_TIMEOUT, settle))
            self._finder.reset()
            return
        self._send(call, settle)

    def _is_sought(self, service: Service) -> bool:
        return any(one.call.service is service for one in self._unsent)

    def _find(self) -> None:
        now = time.monotonic()
        due, self._unsent = self._unsent, []
        for one in due:
            service = one.call.service
            if self._is_sought(service):
                self._unsent.append(one)
            elif self.is_ready(service):
                self._send(one.call, one.settle)
            elif now < one.deadline:
                self._unsent.append(one)
            else:
                sentence = f'Nobody offers {service.name} now; {_remedy(service)}'
                one.settle(Outcome(False, sentence, {}))
        if not self._unsent:
            self._finder.cancel()

    def _send(self, call: Call, settle: Callable[[Outcome], None]) -> None:
        service = call.service
        request = interface(service.type).Request()
        for name, value in call.fields.items():
            setattr(request, name, value)
        future = self._callers[service].call_async(request)
        waiting = _Waiting(future, service, time.monotonic() + ANSWER_TIMEOUT, settle)
        self._waiting.append(waiting)
        future.add_done_callback(lambda done: self._on_response(waiting))

    def give_up(self, now: float) -> None:
        """Settle what was not answered in time."""
        for waiting in [one for one in self._waiting if one.deadline < now]:
            self._waiting.remove(waiting)
            self._callers[waiting.service].remove_pending_request(waiting.future)
            sentence = (
                f'{waiting.service.name} did not answer within {ANSWER_TIMEOUT:g} s; '
                f'{_remedy(waiting.service)}'
            )
            waiting.settle(Outcome(False, sentence, {}))

    def _on_response(self, waiting: _Waiting) -> None:
        if waiting not in self._waiting:
            return
        self._waiting.remove(waiting)
        response = waiting.future.result()
        if response is None:
            waiting.settle(Outcome(False, f'{waiting.service.name} did not answer.', {}))
            return
        fields = {name: getattr(response, name) for name in response.get_fields_and_field_types()}
        waiting.settle(Outcome(bool(response.success), str(response.message), fields))


def _remedy(service: Service) -> str:
    part = 'multiplexer' if service is contract.TAKEOVER else 'rig'
    return f'is the {part} running?'
