# SPDX-License-Identifier: Apache-2.0
"""The operator console on the graph: topics and services on one side, the web server on the other.

Threads: the executor owns the session; what pages say waits in an inbox until the executor takes it
out. The server has a thread of its own and encodes frames there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import ipaddress
from queue import SimpleQueue
import sys
import time
from typing import Any

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RecorderState, RigState, TreeEvent
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from hiwm_core import contract
from hiwm_core.error import HiwmError
from hiwm_core.parameter import Parameter
from hiwm_core.task import load_task
from hiwm_intervention.console_app import Callbacks
from hiwm_intervention.console_asks import Asks
from hiwm_intervention.console_call import Call, Outcome
from hiwm_intervention.console_conversion import (
    lane_of,
    mux_report,
    place_of,
    recorder_report,
    rig_report,
)
from hiwm_intervention.console_economics import Ledger
from hiwm_intervention.console_emergency import EmergencyStop
from hiwm_intervention.console_iws import Begin
from hiwm_intervention.console_protocol import Ask, Hold
from hiwm_intervention.console_request import Requests
from hiwm_intervention.console_server import ConsoleServer
from hiwm_intervention.console_session import ConsoleSession
from hiwm_intervention.console_starts import HardStarts
from hiwm_rig.base_node import declare, publisher, run_node, subscription
from hiwm_rig.conversion import action_message, action_of, frame_of, joints_of, nanoseconds_of
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_rig.wake import Wake

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'session': Parameter('session', "the session's name, shown until the rig says its own"),
    'record_dir': Parameter(
        '', 'folder of all sessions, for hard starts and the table of sessions; empty: not kept'
    ),
    'address': Parameter('127.0.0.1', 'where to listen; beyond this machine only if you must'),
    'port': Parameter(8765, 'where to listen; 0: any free port', low=0, high=65535),
    'token': Parameter(
        '', 'what the printed address carries, at least 16 characters; empty: one is made up'
    ),
    'iws_origins': Parameter(
        '',
        'origins, with commas between, of pages from elsewhere that may drive over /ws/iws with '
        'the token; null: pages opened from a file',
    ),
    'sample_timeout': Parameter(
        0.3, 's without a word from the page that drives until its dead-man lets go', 0.1, 5.0
    ),
}
ANSWERS_PER_PERIOD = 5
TREE_PAGE = 1000
LEDGER_SECONDS = 10
# Sums over a large tree take a while, in which nobody is answered: a rest so many times as long.
COUNT_REST = 50


@dataclass(frozen=True)
class _Closed:
    """A page is gone."""


@dataclass(frozen=True)
class _Wanted:
    """Frames of nodes are wanted."""

    nodes: Sequence[int]
    width: int


class ConsoleNode(Node):
    """The console; prints its address when pages can connect."""

    def __init__(self) -> None:
        super().__init__('console')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        self._session = ConsoleSession(self._task, values['session'], values['sample_timeout'])
        self._starts = HardStarts(values['record_dir'], self._task.name)
        self._ledger = Ledger(values['record_dir'])
        self._resumed = ''  # the session whose sums were taken up
        self._seconds = 0
        self._count_due = 0.0
        self._inbox: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._wake = Wake(self, self._take_inbox)
        self._server = ConsoleServer(
            values['address'],
            values['port'],
            values['token'],
            Callbacks(
                on_open=self._session.hello,
                on_message=self._post,
                on_close=lambda page: self._post(page, _Closed()),
                on_frames=lambda nodes, width: self._post('', _Wanted(nodes, width)),
                on_sessions=self._ledger.table,
            ),
            origins=[one.strip() for one in values['iws_origins'].split(',') if one.strip()],
        )
        self._frame: tuple[NDArray[np.uint8], int] | None = None
        self._state_stamp = 0
        self._fetching = False
        self._operator = publisher(self, contract.OPERATOR_ACTION)
        self._requests = Requests(self, (*contract.RIG_SERVICES, contract.TAKEOVER))
        self._asks = Asks(
            self._session,
            self._starts,
            self._server,
            EmergencyStop(self),
            send=self._requests.send,
            stamp=lambda: self.get_clock().now().nanoseconds,
            changed=self._follow,
        )
        subscription(self, contract.IMAGE, self._on_image)
        subscription(self, contract.JOINT_STATES, self._on_joints)
        subscription(self, contract.RIG_EXECUTED, self._on_executed)
        subscription(self, contract.RIG_STATE, self._on_rig)
        subscription(self, contract.RIG_TREE, self._on_tree)
        subscription(self, contract.MUX_STATE, self._on_mux)
        subscription(self, contract.RECORDER_STATE, self._on_recorder)
        self._pulse = self.create_timer(
            self._task.period / ANSWERS_PER_PERIOD,
            self._answer,
            clock=STEADY_CLOCK,
            autostart=False,
        )
        self.create_timer(1.0, self._on_second, clock=STEADY_CLOCK)
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
            self._keep()
        super().destroy_node()

    # -- pages -----------------------------------------------------------------------------------

    def _post(self, page: str, message: Any) -> None:
        """On the server's thread."""
        self._inbox.put((page, message))
        self._wake.call()

    def _take_inbox(self) -> None:
        now = time.monotonic()
        while not self._inbox.empty():
            page, message = self._inbox.get()
            if isinstance(message, Hold):
                self._session.hold(page, message, now)
            elif isinstance(message, Ask):
                self._asks.take(page, message)
            elif isinstance(message, _Wanted):
                self._fetch_frames(message)
            elif isinstance(message, Begin):
                self._asks.begin(page, message)
            elif isinstance(message, _Closed) and self._session.close(page):
                self._answer()
                self._asks.release(page)
        self._follow()

    def _follow(self) -> None:
        """Something has changed: an action may be due, and pages are to see it."""
        self._answer()
        self._show()

    # -- the graph -------------------------------------------------------------------------------

    def _on_image(self, message: Image) -> None:
        try:
            frame = frame_of(message)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)
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

    def _on_executed(self, message: ActionMessage) -> None:
        try:
            action = action_of(self._task, message)
        except HiwmError as error:
            self.get_logger().warning(error.message, throttle_duration_sec=5.0)
            return
        stamp = nanoseconds_of(message.header.stamp)
        times = self._session.see_executed(
            action.values, action.source, action.epoch, action.step, stamp
        )
        if times:
            self._server.show_answered(self._session.holder, stamp, times)

    def _on_rig(self, message: RigState) -> None:
        report = rig_report(message)
        self._state_stamp = report.stamp
        incomplete = self._session.see_rig(report, time.monotonic())
        self._answer()
        self._pair()
        if incomplete:
            self._fetch_tree()
        if report.session != self._resumed:
            self._resumed = report.session
            kept = self._ledger.kept(report.session)
            if kept is not None:
                self._session.economics.resume(kept)
        self._show()

    def _on_tree(self, message: TreeEvent) -> None:
        if message.kind == TreeEvent.KIND_RESET and message.seed >= 0:
            self._session.tree.set_seed(int(message.node), int(message.seed))
            if self._session.is_physical:
                self._session.guide.see_reset(
                    int(message.seed), int(message.node), int(message.epoch), time.monotonic()
                )
        self._fetch_tree()

    def _on_mux(self, message: MuxState) -> None:
        self._session.see_mux(mux_report(message), time.monotonic())
        self._show()

    def _on_recorder(self, message: RecorderState) -> None:
        self._session.see_recorder(recorder_report(message), time.monotonic())
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
        self._requests.give_up(time.monotonic())
        began = time.monotonic()
        if began >= self._count_due:
            self._session.economics.count(self._task.name, self._session.tree)
            self._count_due = began + COUNT_REST * (time.monotonic() - began)
        self._seconds += 1
        if self._seconds % LEDGER_SECONDS == 0:
            self._keep()
        self._show()

    def _keep(self) -> None:
        sums = self._session.economics.count(self._task.name, self._session.tree)
        try:
            self._ledger.keep(sums)
        except OSError as error:
            self.get_logger().warning(
                f"the session's sums cannot be kept: {error}", throttle_duration_sec=60.0
            )

    # -- the tree --------------------------------------------------------------------------------

    def _fetch_tree(self) -> None:
        """Ask the rig for what is not known yet, page by page; one page is asked for at a time."""
        if self._fetching or not self._requests.is_ready(contract.GET_TREE):
            return
        self._fetching = True
        tree = self._session.tree
        fields = {'after_node': tree.fetched, 'max_nodes': TREE_PAGE, 'since': tree.version}

        def settle(outcome: Outcome) -> None:
            self._fetching = False
            if tree is not self._session.tree:
                self._fetch_tree()
                return
            if not outcome.success:
                return
            names, nodes = outcome.fields['checkpoint_names'], outcome.fields['checkpoint_nodes']
            tree.take(
                [place_of(node) for node in outcome.fields['nodes']],
                [lane_of(branch) for branch in outcome.fields['branches']],
                dict(zip(names, map(int, nodes), strict=True)),
                int(outcome.fields['node_count']),
                int(outcome.fields['version']),
            )
            if tree.fetched < outcome.fields['node_count'] and outcome.fields['nodes']:
                self._fetch_tree()
            self._show()

        self._requests.send(Call(contract.GET_TREE, fields), settle)

    def _fetch_frames(self, wanted: _Wanted) -> None:
        def settle(outcome: Outcome) -> None:
            frames = None
            if outcome.success:
                found, pictures = outcome.fields['nodes'], outcome.fields['frames']
                frames = {
                    int(node): bytes(picture.data)
                    for node, picture in zip(found, pictures, strict=True)
                }
            self._server.give_frames(wanted.width, frames)

        fields = {'nodes': list(wanted.nodes), 'width': wanted.width}
        self._requests.send(Call(contract.GET_FRAMES, fields), settle)

    def _show(self) -> None:
        view = self._session.tell(time.monotonic())
        self._server.show({**view, 'starts': self._starts.tell()})
        news = self._session.tree.take_news()
        if news is not None:
            self._server.show_tree(news)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'


def main() -> None:
    """Run the console until it is told to stop."""
    sys.exit(run_node(ConsoleNode))
