# SPDX-License-Identifier: Apache-2.0
"""A session of the world model that is killed over and over, watched from outside.

The rig runs as a user runs it, in lockstep on the shipped weights. Every frame is answered with an
action at once; rollbacks, resampled branches, checkpoints and resets come in between. Each life
ends by SIGKILL at a moment that is drawn, in the middle of being driven or, in every fifth life on
the average, while the rig still starts. After every life the tree is opened, and it is said what it
does not hold of all that was published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, field
import hashlib
import os
from pathlib import Path
import random
import signal
import time
from typing import Any

from ament_index_python.packages import get_package_prefix
from hiwm_msgs.msg import RigState
import numpy as np

from hiwm_core import contract
from hiwm_core.rollout_tree import JOURNAL_NAME, RolloutTree
from hiwm_rig.base_node import client
from hiwm_rig.conversion import frame_of, nanoseconds_of
from test.probe import PATIENCE, Probe
from test.process import Process
from test.rigs import MODELS

MOST_FRAMES = 60
LONGEST_START = 4.0  # s, until when a life may be ended while the rig starts
LONGEST_DELAY = 0.05  # s, from the last frame that is waited for to the kill
START_KILLS = 0.2  # share of the lives that end while the rig starts
ASK_AGAIN = 0.5  # s, until an answer that led to nothing is sent again
ACT_EVERY = 8  # frames, on the average, between what an operator asks for


@dataclass(frozen=True)
class Life:
    """One life of the session's process, seen from outside.

    Attributes:
        frames: How many new nodes it showed.
        nodes: How many nodes the tree had when it was over.
        torn: Whether the kill left a torn record.
        lost: What was published, in this life or before, and is not kept as it was.
        starting: Whether it was killed while it started.
    """

    frames: int
    nodes: int
    torn: bool
    lost: list[str]
    starting: bool


@dataclass
class KilledSession:
    """One session, from kill to kill.

    Args:
        folder: Holds the tree, and the output of every life.
        probe: Sees what is published.
        seed: Of the session, the actions and the moments.

    Attributes:
        shown: The hash of the frame that was published for each node, in all lives.
        lives: Each life so far.
    """

    folder: Path
    probe: Probe
    seed: int = 0
    shown: dict[int, str] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tree_folder = self.folder / 'session'
        self._dice = random.Random(self.seed)
        self._frames: dict[int, str] = {}  # by stamp, of this life
        self._read = 0
        self._clients = {
            service.name: client(self.probe.node, service)
            for service in (
                contract.RESUME,
                contract.ROLLBACK,
                contract.BRANCH,
                contract.SAVE_CHECKPOINT,
                contract.RESET,
            )
        }

    def process(self, *parameters: str) -> Process:
        """The session's process, begun or begun again."""
        executable = Path(get_package_prefix('hiwm_world_model')) / 'lib' / 'hiwm_world_model'
        values = (
            f'model:={MODELS / "world_model"}',
            f'session_dir:={self.tree_folder}',
            f'seed:={self.seed}',
            'pace:=lockstep',
            'start:=running',
            *parameters,
        )
        return Process(
            [
                str(executable / 'world_model'),
                '--ros-args',
                *(word for value in values for word in ('-p', value)),
            ],
            self.folder / f'life-{len(self.lives)}.log',
        )

    def live_and_be_killed(self) -> Life:
        """One life. Raises AssertionError if it did not go on where the one before ended."""
        while_starting = bool(self.lives) and self._dice.random() < START_KILLS
        frames = self._dice.randint(1, MOST_FRAMES)
        delay = self._dice.uniform(0.0, LONGEST_START if while_starting else LONGEST_DELAY)
        before, head = len(self.shown), self.head()
        self.forget()
        with self.process() as life:
            if while_starting:
                time.sleep(delay)
            else:
                self.drive(life, head, frames, delay)
            os.killpg(life.child.pid, signal.SIGKILL)
            life.wait()
            assert 'Traceback' not in life.text, life.text
        journal = self.tree_folder / JOURNAL_NAME
        size = journal.stat().st_size if journal.exists() else 0
        lost = self.lost()
        with self.opened() as tree:
            nodes = len(tree.nodes)
        torn = journal.stat().st_size < size
        self.lives.append(Life(len(self.shown) - before, nodes, torn, lost, while_starting))
        return self.lives[-1]

    def head(self) -> tuple[int, str]:
        """The tree's head and its frame's hash, read while no process has the tree."""
        with self.opened() as tree:
            if not tree.head:
                return 0, ''
            return tree.head, digest(tree.observation(tree.head).frame)

    @contextlib.contextmanager
    def opened(self) -> Iterator[RolloutTree]:
        """The tree, while no process has it."""
        tree = RolloutTree(self.tree_folder, self.seed)
        try:
            yield tree
        finally:
            tree.close()

    def drive(
        self, life: Process, head: tuple[int, str], frames: int, seconds: float = 0.0
    ) -> None:
        """See that the session goes on where it ended, then drive it.

        Args:
            life: Its process.
            head: What `head` said before, (0, '') for whatever it is.
            frames: How many new ones are waited for.
            seconds: For how long it is driven after these.
        """
        probe = self.probe
        probe.until(lambda: probe.states or life.child.poll() is not None, 'the first frame')
        assert life.child.poll() is None, life.text
        if head[0]:
            self._until_at(*head)
        known = len(self.shown)
        self._answer(life, lambda: len(self.shown) >= known + frames)
        end = time.monotonic() + seconds
        self._answer(life, lambda: time.monotonic() >= end)

    def drive_until_fault(self, life: Process) -> None:
        """Drive until the rig says that something is wrong."""
        self._answer(life, lambda: self.probe.state.mode == RigState.MODE_FAULT)

    def _answer(self, life: Process, done: Callable[[], bool]) -> None:
        """Answer every frame with an action, and resume what was paused, until it is done."""
        asked: tuple[int, int, int] | None = None
        asked_at = 0.0
        deadline = time.monotonic() + PATIENCE
        while not done():
            now = time.monotonic()
            assert now < deadline, f'the session stands still: {life.text}'
            state = self.probe.state
            question = state.epoch, state.step, state.mode
            # What is asked before the two have found each other is lost, so ask again.
            if not state.context and (question != asked or now > asked_at + ASK_AGAIN):
                if question != asked and self.shown and self._dice.random() < 1 / ACT_EVERY:
                    self._operate()
                asked, asked_at = question, now
                if state.mode == RigState.MODE_PAUSED:
                    self._ask(contract.RESUME)
                else:
                    self.probe.send(self._action(state), state)
            self._note_shown()
            time.sleep(0.002)

    def _until_at(self, node: int, frame: str) -> None:
        """Until the node where the session ended is shown, as it was.

        It is shown again and again until it is answered, so a late listener sees it too.
        """

        def shown() -> str | None:
            self._note_shown()
            frames = (
                self._frames.get(nanoseconds_of(state.header.stamp))
                for state in self.probe.states
                if state.node == node
            )
            return next(filter(None, frames), None)

        found = self.probe.until(shown, f'node {node}, where the session ended')
        assert found == frame, f'node {node} has another frame than before the kill'

    def _operate(self) -> None:
        """What an operator may ask for; nobody waits for the answer, which may never come."""
        node = self._dice.choice(list(self.shown))
        match self._dice.randrange(5):
            case 0:
                self._ask(contract.ROLLBACK, node=node)
            case 1:
                self._ask(contract.BRANCH, node=node, resample=True)
            case 2:
                self._ask(contract.RESET, seed=-1)
            case _:
                name = f'{len(self.lives)}.{self._dice.random()}'
                self._ask(contract.SAVE_CHECKPOINT, node=node, name=name)

    def _ask(self, service: contract.Service, **fields: Any) -> None:
        caller = self._clients[service.name]
        caller.call_async(caller.srv_type.Request(**fields))

    def _action(self, state: RigState) -> np.ndarray:
        """A command on a winding path across the workspace."""
        low, high = self.probe.task.action_low, self.probe.task.action_high
        phases = state.epoch + state.step * np.array([0.11, 0.17])[: len(low)]
        return low + (high - low) * (0.5 + 0.4 * np.sin(phases))

    # -- what was shown --------------------------------------------------------------------------

    def forget(self) -> None:
        """Begin to listen anew; what was shown for each node stays known."""
        for messages in self.probe.messages.values():
            messages.clear()
        self._frames.clear()
        self._read = 0

    def _note_shown(self) -> None:
        """Remember the frame of every node; a node that is shown again shows the same."""
        images = self.probe.messages[contract.IMAGE.name]
        for image in images[self._read :]:
            self._frames[nanoseconds_of(image.header.stamp)] = digest(frame_of(image))
            self._read += 1
        for state in self.probe.states[:]:
            frame = self._frames.get(nanoseconds_of(state.header.stamp))
            if frame is not None:
                known = self.shown.setdefault(state.node, frame)
                assert known == frame, f'node {state.node} was shown with two frames'

    def lost(self) -> list[str]:
        """What was published and is not kept as it was; asked while no process has the tree."""
        self._note_shown()
        with self.opened() as tree:
            kept = {node: digest(tree.observation(node).frame) for node in tree.nodes}
        lost = [f'node {node}' for node, frame in self.shown.items() if kept.get(node) != frame]
        # Also a frame whose state the kill held back is a node's.
        frames = set(kept.values())
        return lost + [
            f'the frame of {stamp}' for stamp, frame in self._frames.items() if frame not in frames
        ]


def digest(frame: np.ndarray) -> str:
    """The hash of a frame uint8 (H, W, 3)."""
    return hashlib.sha256(np.ascontiguousarray(frame)).hexdigest()
