# SPDX-License-Identifier: Apache-2.0
"""The operator console on the graph: topics and services on one side, the web server on the other.

Threads: the executor owns the session; what pages say waits in an inbox until the executor takes it
out. The server has a thread of its own and encodes frames there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import ipaddress
from queue import SimpleQueue
import sys
import time
from typing import Any

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RecorderState, RigState, TreeBranch, TreeEvent
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState

from hiwm_core import contract
from hiwm_core.contract import Service
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.rollout_tree import Label
from hiwm_core.task import load_task
from hiwm_intervention.console_protocol import Ask, Hold
from hiwm_intervention.console_server import ConsoleServer
from hiwm_intervention.console_session import (
    Call,
    ConsoleSession,
    MuxReport,
    Outcome,
    RecorderReport,
    RigReport,
)
from hiwm_intervention.console_tree import Lane, TreeView
from hiwm_rig.base_node import client, declare, interface, publisher, run_node, subscription
from hiwm_rig.conversion import (
    action_message,
    action_of,
    frame_of,
    joints_of,
    nanoseconds_of,
)

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'session': Parameter('session', "the session's name, shown until the rig says its own"),
    'address': Parameter('127.0.0.1', 'where to listen; beyond this machine only if you must'),
    'port': Parameter(8765, 'where to listen; 0: any free port', low=0, high=65535),
    'token': Parameter(
        '', 'what the printed address carries, at least 16 characters; empty: one is made up'
    ),
    'sample_timeout': Parameter(
        0.3, 's without a word from the page that drives until its dead-man lets go', 0.1, 5.0
    ),
}
ANSWERS_PER_PERIOD = 5
ANSWER_TIMEOUT = 20.0  # s for a service to answer
TREE_PAGE = 1000


@dataclass(frozen=True)
class _Opened:
    """A page came."""


@dataclass(frozen=True)
class _Closed:
    """A page is gone."""


@dataclass(frozen=True)
class _Waiting:
    """A service that has not answered yet."""

    future: Future
    service: Service
    deadline: float
    settle: Callable[[Outcome], None]


class ConsoleNode(Node):
    """The console; prints its address when pages can connect."""

    def __init__(self) -> None:
        super().__init__('console')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        self._session = ConsoleSession(self._task, values['session'], values['sample_timeout'])
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._guard = self.create_guard_condition(self._take_inbox)
        self._server = ConsoleServer(
            values['address'],
            values['port'],
            values['token'],
            on_open=self._open,
            on_message=self._post,
            on_close=lambda page: self._post(page, _Closed()),
        )
        self._frame: tuple[NDArray[np.uint8], int] | None = None
        self._state_stamp = 0
        self._waiting: list[_Waiting] = []
        self._fetching = False
        self._shown_tree: tuple[TreeView | None, int] = (None, -1)
        self._operator = publisher(self, contract.OPERATOR_ACTION)
        self._callers = {
            service: client(self, service)
            for service in (*contract.RIG_SERVICES, contract.TAKEOVER)
        }
        subscription(self, contract.IMAGE, self._on_image)
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_STATE, self._on_rig)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        subscription(self, contract.RIG_TREE, self._on_tree)
        subscription(self, contract.MUX_STATE, self._on_mux)
        subscription(self, contract.RECORDER_STATE, self._on_recorder)
        self._pulse = self.create_timer(
            self._task.period / ANSWERS_PER_PERIOD, self._answer, autostart=False
        )
        self.create_timer(1.0, self._on_second)
        self._server.start()
        if not _is_loopback(values['address']):
            self.get_logger().warning(
                f'the console listens on {values["address"]} without encryption: whoever reads the '
                'network or has the printed address can drive'
            )
        print(f'Console: {self._server.url}', flush=True)

    def destroy_node(self) -> None:
        """Stop the server before what it calls goes."""
        if hasattr(self, '_server'):
            self._server.close()
        super().destroy_node()

    # -- pages, on the server's thread -----------------------------------------------------------

    def _open(self, page: str) -> dict[str, Any]:
        self._post(page, _Opened())
        return self._session.hello(page)

    def _post(self, page: str, message: Any) -> None:
        self._inbox.put((page, message))
        self._guard.trigger()

    # -- pages, on the executor ------------------------------------------------------------------

    def _take_inbox(self) -> None:
        now = time.monotonic()
        while not self._inbox.empty():
            page, message = self._inbox.get()
            if isinstance(message, Hold):
                self._session.hold(page, message.keys, now)
            elif isinstance(message, Ask):
                self._ask(page, message)
            elif isinstance(message, _Closed) and self._session.close(page):
                self._answer()
                call = self._session.call(page, Ask(0, 'release'))
                self._request(call, lambda outcome: None)
        self._show()

    def _ask(self, page: str, ask: Ask) -> None:
        refusal = self._session.refusal(page, ask)
        if refusal:
            self._server.reply(page, ask, False, refusal)
            return
        asked = self.get_clock().now().nanoseconds

        def settle(outcome: Outcome) -> None:
            now = time.monotonic()
            sentence = self._session.settle(page, ask, outcome, asked, now)
            self._server.reply(page, ask, outcome.success, sentence)
            self._answer()
            self._show()

        self._request(self._session.call(page, ask), settle)

    def _request(self, call: Call, settle: Callable[[Outcome], None]) -> None:
        """Call a service; `settle` gets its answer, or a sentence in its place."""
        service = call.service
        if not self._callers[service].service_is_ready():
            settle(Outcome(False, f'Nobody offers {service.name} now; {_remedy(service)}', {}))
            return
        request = interface(service.type).Request()
        for name, value in call.fields.items():
            setattr(request, name, value)
        future = self._callers[service].call_async(request)
        waiting = _Waiting(future, service, time.monotonic() + ANSWER_TIMEOUT, settle)
        self._waiting.append(waiting)
        future.add_done_callback(lambda done: self._on_response(waiting))

    def _on_response(self, waiting: _Waiting) -> None:
        if waiting not in self._waiting:
            return
        self._waiting.remove(waiting)
        response = waiting.future.result()
        fields = {name: getattr(response, name) for name in response.get_fields_and_field_types()}
        waiting.settle(Outcome(bool(response.success), str(response.message), fields))

    # -- the graph -------------------------------------------------------------------------------

    def _on_image(self, message: Image) -> None:
        try:
            frame = frame_of(message)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)
            return
        if not frame.size:
            return
        if self._frame is not None:
            # Its state never came: a frame without words is better than none.
            self._server.show_frame(*self._frame)
        self._frame = (frame, nanoseconds_of(message.header.stamp))
        self._pair()

    def _pair(self) -> None:
        """Show a frame together with the state of the same stamp."""
        if self._frame is not None and self._frame[1] == self._state_stamp:
            self._server.show_frame(*self._frame)
            self._frame = None

    def _on_joints(self, message: JointState) -> None:
        try:
            self._session.see_joints(joints_of(self._task, message))
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)

    def _on_rig(self, message: RigState) -> None:
        self._state_stamp = nanoseconds_of(message.header.stamp)
        incomplete = self._session.see_rig(_rig_report(message), time.monotonic())
        self._answer()
        self._pair()
        if incomplete:
            self._fetch_tree()
        self._show()

    def _on_executed(self, message: ActionMessage) -> None:
        try:
            self._session.see_command(action_of(self._task, message).values)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)

    def _on_tree(self, message: TreeEvent) -> None:
        self._fetch_tree()

    def _on_mux(self, message: MuxState) -> None:
        self._session.see_mux(_mux_report(message), time.monotonic())
        self._show()

    def _on_recorder(self, message: RecorderState) -> None:
        self._session.see_recorder(
            RecorderReport(
                recording=bool(message.recording),
                uri=str(message.uri),
                written_bytes=int(message.written_bytes),
                free_bytes=int(message.free_bytes),
                message=str(message.message),
            ),
            time.monotonic(),
        )
        self._show()

    def _answer(self) -> None:
        """Send the operator's action if one is due; the pulse runs only while there may be one."""
        action = self._session.answer(time.monotonic())
        if action is not None:
            stamp = self.get_clock().now().to_msg()
            self._operator.publish(action_message(self._task, action, stamp))
        if not self._session.operator.engaged:
            self._pulse.cancel()
        elif self._pulse.is_canceled():
            self._pulse.reset()

    def _on_second(self) -> None:
        now = time.monotonic()
        for waiting in [one for one in self._waiting if one.deadline < now]:
            self._waiting.remove(waiting)
            self._callers[waiting.service].remove_pending_request(waiting.future)
            sentence = (
                f'{waiting.service.name} did not answer within {ANSWER_TIMEOUT:g} s; '
                f'{_remedy(waiting.service)}'
            )
            waiting.settle(Outcome(False, sentence, {}))
        self._show()

    # -- the tree --------------------------------------------------------------------------------

    def _fetch_tree(self) -> None:
        """Ask the rig for what is not known yet, page by page; one page is asked for at a time."""
        if self._fetching or not self._callers[contract.GET_TREE].service_is_ready():
            return
        self._fetching = True
        tree = self._session.tree
        fields = {'after_node': tree.fetched, 'max_nodes': TREE_PAGE}

        def settle(outcome: Outcome) -> None:
            self._fetching = False
            if tree is not self._session.tree:
                self._fetch_tree()
                return
            if not outcome.success:
                return
            tree.take(
                [
                    (int(node.node), int(node.step), str(node.branch))
                    for node in outcome.fields['nodes']
                ],
                [_lane(branch) for branch in outcome.fields['branches']],
                dict(
                    zip(
                        outcome.fields['checkpoint_names'],
                        map(int, outcome.fields['checkpoint_nodes']),
                        strict=True,
                    )
                ),
            )
            if tree.fetched < outcome.fields['node_count'] and outcome.fields['nodes']:
                self._fetch_tree()
            self._show()

        self._request(Call(contract.GET_TREE, fields), settle)

    def _show(self) -> None:
        self._server.show(self._session.tell(time.monotonic()))
        tree = self._session.tree
        if self._shown_tree != (tree, tree.version):
            self._shown_tree = (tree, tree.version)
            self._server.show_tree(tree.tell())


def _rig_report(message: RigState) -> RigReport:
    return RigReport(
        stamp=nanoseconds_of(message.header.stamp),
        session=str(message.session),
        task=str(message.task),
        rig=str(message.rig),
        epoch=int(message.epoch),
        node=int(message.node),
        branch=str(message.branch),
        step=int(message.step),
        context=bool(message.context),
        mode=int(message.mode),
        pace=int(message.pace),
        can_rollback=bool(message.can_rollback),
        can_branch=bool(message.can_branch),
        progress=float(message.progress),
        success=float(message.success),
        fidelity=float(message.fidelity),
        dropped_actions=int(message.dropped_actions),
        missed_deadlines=int(message.missed_deadlines),
        message=str(message.message),
    )


def _mux_report(message: MuxState) -> MuxReport:
    return MuxReport(
        stamp=nanoseconds_of(message.header.stamp),
        phase=int(message.phase),
        source=int(message.source),
        operator_id=str(message.operator_id),
        device=str(message.device),
        holding=bool(message.holding),
        reason=str(message.reason),
        rejected_actions=int(message.rejected_actions),
    )


def _lane(branch: TreeBranch) -> Lane:
    return Lane(
        name=str(branch.name),
        root=int(branch.root),
        fork=int(branch.fork),
        head=int(branch.head),
        label=Label(branch.label) if branch.label in set(Label) else Label.NONE,
        note=str(branch.note),
    )


def _remedy(service: Service) -> str:
    part = 'multiplexer' if service is contract.TAKEOVER else 'rig'
    return f'is the {part} running?'


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def main() -> None:
    """Run the console until it is told to stop."""
    sys.exit(run_node(ConsoleNode))
