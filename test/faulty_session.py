# SPDX-License-Identifier: Apache-2.0
"""A whole session that faults are made in, watched from the graph and from a page."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
import re
from typing import Any
from urllib.parse import urlsplit

from hiwm_msgs.msg import MuxState, RigState

from hiwm_core import contract
from hiwm_core.action import Source
from hiwm_core.bag_reader import BagReader
from hiwm_rig.conversion import nanoseconds_of
from test.page_client import PageClient
from test.probe import Probe
from test.process import Process
from test.small_disk import SmallDisk

FOREVER = 2**63  # ns
SETTLED = 5  # messages of a topic, after which none is missed
TAKEOVERS = 10
SECONDS_TO_FIND = 3
NOBODYS = frozenset({Source.HOLD, Source.HANDOVER})


class FaultySession:
    """The session's processes, its graph and a page that watches.

    Args:
        process: The launch.
        probe: Hears everything.
        page: Watches, and drives where no other page does.
        url: What the console printed.
        folder: Of the session's record, once it has ended.
        disk: That it records to; None: to the folder itself.

    Attributes:
        settled: ns; what was published since has been heard, by this process and the recorder.
    """

    def __init__(
        self,
        process: Process,
        probe: Probe,
        page: PageClient,
        *,
        url: str,
        folder: Path,
        disk: SmallDisk | None,
    ) -> None:
        self.process = process
        self.probe = probe
        self.page = page
        self.url = url
        self.folder = folder
        self.disk = disk
        self.settled = 0
        self._starts: dict[str, list[int]] = defaultdict(list)

    @property
    def port(self) -> int:
        """The console's."""
        return int(urlsplit(self.url).port or 0)

    def url_at(self, port: int) -> str:
        """The console's address behind another port."""
        return self.url.replace(f':{self.port}/', f':{port}/')

    def node(self, name: str) -> int:
        """The process id of a node."""
        return self.process.nodes()[name]

    def messages(self, topic: contract.Topic) -> list[Any]:
        """Every message of a topic so far."""
        return list(self.probe.messages[topic.name])

    def policy_drives(self, steps: int = 5) -> None:
        """Give the policy the wheel and see that it drives."""
        if self.probe.mux.phase != MuxState.PHASE_AUTONOMOUS:
            self.page.must('resume')
        done = len(self.executed_by(Source.POLICY))
        self.probe.until(
            lambda: len(self.executed_by(Source.POLICY)) >= done + steps, 'the policy drives'
        )

    def drive(self, take_over: Callable[[], None], steps: int = 4) -> int:
        """Let a page drive so many steps.

        On a busy machine a page's samples may be late, which ends its takeover; then once more.

        Args:
            take_over: Asks for the wheel, with a key held.
            steps: At least.

        Returns:
            How many proposals of operators there were before.
        """
        for _ in range(TAKEOVERS):
            proposed, told = (
                len(self.messages(topic))
                for topic in (contract.OPERATOR_ACTION, contract.MUX_STATE)
            )
            done = len(self.executed_by(Source.OPERATOR))
            take_over()
            self.probe.until(
                lambda done=done, told=told: (
                    len(self.executed_by(Source.OPERATOR)) >= done + steps or self._has_lost(told)
                ),
                'the page drives',
            )
            if len(self.executed_by(Source.OPERATOR)) >= done + steps:
                return proposed
        raise AssertionError(f'{TAKEOVERS} takeovers were lost; this machine is too busy')

    def _has_lost(self, told: int) -> bool:
        """Whether a takeover has begun and ended since so many states of the multiplexer."""
        holders = [state.operator_id for state in self.messages(contract.MUX_STATE)[told:]]
        return any(holders) and not holders[-1]

    def is_paused(self) -> bool:
        """Whether nobody drives, and the rig stands still."""
        paused = self.probe.mux.phase == MuxState.PHASE_PAUSED
        return paused and self.probe.state.mode == RigState.MODE_PAUSED

    def executed_by(self, source: Source) -> list[Any]:
        """What the rig executed of somebody's choices."""
        return [each for each in self.messages(contract.RIG_EXECUTED) if each.source == source]

    def executed_after(self, epoch: int, step: int) -> list[Any]:
        """What the rig executed in an epoch after the step that was answered last."""
        return [
            each
            for each in self.messages(contract.RIG_EXECUTED)
            if each.epoch == epoch and each.observation_step > step
        ]

    def starts(self, *topics: contract.Topic) -> None:
        """From now on these are published by a node that was started again.

        Whoever listens finds a sender a moment after it begins: what is asked for begins with the
        first message that both the probe and the recorder have heard.
        """
        now = int(self.probe.node.get_clock().now().nanoseconds)
        for topic in topics:
            self._starts[topic.name].append(now)

    def be_found(self) -> None:
        """Wait until whoever listens has had time to find a node that was started."""
        known = len(self.messages(contract.RECORDER_STATE))
        self.probe.until(
            lambda: len(self.messages(contract.RECORDER_STATE)) >= known + SECONDS_TO_FIND,
            'the recorder tells its state some times',
        )

    def check_record(self, until: int | None = None) -> None:
        """All that was published is in the bag, once.

        Args:
            until: ns; what was published later may be missing, if everything later is. None: all.
        """
        recorded: dict[tuple[str, str], list[int]] = defaultdict(list)
        with BagReader(self.folder / 'bag') as reader:
            for name, message in reader.messages(contract.RECORDED_TOPICS):
                recorded[name, _sender(message)].append(nanoseconds_of(message.header.stamp))
        published: dict[tuple[str, str], list[int]] = defaultdict(list)
        for topic in contract.RECORDED_TOPICS:
            for message in self.messages(topic):
                stamp = nanoseconds_of(message.header.stamp)
                published[topic.name, _sender(message)].append(stamp)
        for key, stamps in published.items():
            edges = [0, *self._starts[key[0]], FOREVER]
            for begin, end in pairwise(edges):
                sent, kept = (
                    sorted(each for each in every if begin <= each < end)
                    for every in (stamps, recorded[key])
                )
                _check_same(key, sent, kept, self.settled, until)


def _sender(message: Any) -> str:
    """Diagnostics have several."""
    return str(message.status[0].name) if hasattr(message, 'status') else ''


def _check_same(
    key: tuple[str, str],
    sent: Sequence[int],
    kept: Sequence[int],
    settled: int,
    until: int | None,
) -> None:
    """Stamps of one sender, from the first on that both have, but for the end.

    Args:
        settled: ns; before it this process may not have heard everything.
    """
    if until is not None:
        end = max(kept, default=0)
        assert all(each >= until for each in sent if each > end), f'{key} ends too early'
        sent = [each for each in sent if each <= end]
    # A reliable publisher drops for a listener that cannot keep up or that it has not found yet,
    # and this process may be that one: what it has not heard at all is no fault of the record.
    if not sent:
        return
    assert kept or sent[-1] < settled, f'{key}: {len(sent)} were sent and none recorded'
    begin = max(sent[0], kept[0] if kept else 0, settled)
    odd = Counter(each for each in sent if each >= begin)
    odd.subtract(each for each in kept if each >= begin)
    heard = set(sent)
    wrong = {stamp: count for stamp, count in odd.items() if count and stamp in heard}
    assert not wrong, f'{key}: of {len(sent)} sent and {len(kept)} recorded differ {wrong}'


@contextmanager
def faulty_session(
    launch: str, pace: str, folder: Path, disk: SmallDisk | None = None
) -> Iterator[FaultySession]:
    """A session that runs, and is driven by the policy, for the length of a block.

    Args:
        launch: Its launch file's stem.
        pace: Of the rig.
        folder: For its log and its record.
        disk: That it records to instead.
    """
    record, kept = (disk.disk, disk.kept) if disk else (folder, folder)
    command = [
        'ros2',
        'launch',
        'hiwm_bringup',
        f'{launch}.launch.py',
        f'pace:={pace}',
        'port:=0',
        'seed:=5',
        # Begun once this process hears everybody: a message of before cannot be judged.
        'autonomous:=false',
        'session:=faulty',
        f'record_dir:={record}',
    ]
    if disk is not None:
        command = disk.around(command)
    with ExitStack() as stack:
        probe = stack.enter_context(Probe())
        process = stack.enter_context(Process(command, folder / 'log'))
        found = probe.until(
            lambda: (
                re.search(r'Console: (http\S+)', process.text) or process.child.poll() is not None
            ),
            'the session prints the address',
        )
        assert found is not True, process.text
        page = stack.enter_context(PageClient(found[1]))
        session = FaultySession(
            process, probe, page, url=found[1], folder=kept / 'faulty', disk=disk
        )
        probe.until(
            lambda: all(
                len(session.messages(topic)) >= SETTLED
                for topic in (contract.POLICY_ACTION, contract.RIG_STATE, contract.IMAGE)
            ),
            'the probe hears the session',
        )
        probe.until(
            lambda: any(each.recording for each in session.messages(contract.RECORDER_STATE)),
            'the recorder hears the session',
        )
        session.settled = probe.node.get_clock().now().nanoseconds
        page.must('resume')
        page.until(lambda: page.phase == 'autonomous', 'the policy drives')
        probe.until(
            lambda: (
                probe.mux.phase == MuxState.PHASE_AUTONOMOUS
                and session.messages(contract.RIG_EXECUTED)
            ),
            'the policy drives',
        )
        yield session
