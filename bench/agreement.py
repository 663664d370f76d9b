# SPDX-License-Identifier: Apache-2.0
"""Whether a session's bag and its rollout tree tell the same: node by node, bit by bit.

Both are read once, side by side, in memory that does not grow with the frames: the bag message by
message, the tree node by node from its journal.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hiwm_core.action import read_values
from hiwm_core.bag_reader import BagReader
from hiwm_core.contract import IMAGE, RIG_EXECUTED, RIG_STATE, RIG_TREE
from hiwm_core.rollout_tree import RolloutTree
from hiwm_core.task import Task

EVENT_RESET, EVENT_BRANCH, EVENT_CHECKPOINT, EVENT_LABEL = 1, 3, 4, 5  # TreeEvent.KIND_*
WAITING = 256  # messages that may wait for the state of their stamp
SHOWN = 10  # differences that are spelled out


@dataclass
class Agreement:
    """What was compared and where it differs.

    Attributes:
        counts: How many of each kind agree.
        differences: How many do not.
        examples: The first of them, as sentences.
    """

    counts: dict[str, int] = field(default_factory=dict)
    differences: int = 0
    examples: list[str] = field(default_factory=list)

    def compare(self, kind: str, what: str, tree: Any, bag: Any) -> None:
        """One fact as the tree and as the bag tell it."""
        if tree == bag:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            return
        self.differences += 1
        if len(self.examples) < SHOWN:
            self.examples.append(f'{kind} of {what}: the tree has {tree}, the bag {bag}')

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {
            'agree': self.counts,
            'differ': self.differences,
            'examples': self.examples,
        }


def compare(bag: Path, tree_folder: Path, task: Task) -> Agreement:
    """Compare the bag of a session that has ended with the tree in its folder.

    Every node, who executed what on the way to it, its frame, every branch with its fork, head and
    label, every checkpoint and every start has to be in both. Raises HiwmError if either cannot be
    read.
    """
    tree = RolloutTree(tree_folder, 0)
    try:
        comparison = _Comparison(tree, task)
        with BagReader(bag) as reader:
            topics = (RIG_STATE, IMAGE, RIG_EXECUTED, RIG_TREE)
            total = sum(reader.counts().get(topic.name, 0) for topic in topics)
            for name, message in tqdm(
                reader.messages(topics), total=total, unit='message', desc='compare'
            ):
                comparison.take(name, message)
        return comparison.finish()
    finally:
        tree.close()


class _Comparison:
    def __init__(self, tree: RolloutTree, task: Task) -> None:
        self._tree = tree
        self._task = task
        self._result = Agreement()
        self._seen: set[int] = set()
        self._unpictured: set[int] = set()
        self._heads: dict[str, int] = {}
        self._forks: dict[str, int] = {}
        self._labels: dict[str, tuple[int, str]] = {}
        self._checkpoints: dict[str, int] = {}
        self._resets: set[int] = set()
        # What has come of a frame, by its stamp: topics keep no order among each other.
        self._frames: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def take(self, topic: str, message: Any) -> None:
        if topic == RIG_TREE.name:
            self._take_event(message)
            return
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        if topic == RIG_STATE.name and self._is_settled(int(message.node)):
            # Shown again.
            self._frames.pop(stamp, None)
            return
        parts = self._frames.setdefault(stamp, {})
        parts[topic] = message
        state = parts.get(RIG_STATE.name)
        wanted = 3 if state is None or state.parent else 2
        if len(parts) == wanted:
            self._settle(self._frames.pop(stamp))
        if len(self._frames) > WAITING:
            self._settle(self._frames.popitem(last=False)[1])

    def _is_settled(self, number: int) -> bool:
        return number in self._seen and number not in self._unpictured

    def _settle(self, parts: dict[str, Any]) -> None:
        """All that will come of a frame is there."""
        state = parts.get(RIG_STATE.name)
        if state is None:
            return
        number = int(state.node)
        if self._is_settled(number):
            return
        if number in self._unpictured:
            self._settle_frame(number, parts.get(IMAGE.name))
            return
        self._seen.add(number)
        node = self._tree.nodes.get(number)
        what = f'node {number}'
        if node is None:
            self._result.compare('nodes', what, 'no such node', 'a state')
            return
        self._heads[state.branch] = max(number, self._heads.get(state.branch, 0))
        place = (node.parent, node.step, node.branch)
        self._result.compare('nodes', what, place, (state.parent, state.step, state.branch))
        executed = parts.get(RIG_EXECUTED.name)
        if node.parent:
            done = None
            if executed is not None:
                values = read_values(self._task, executed.names, executed.values)
                done = (int(executed.source), values.tobytes())
            self._result.compare(
                'executed actions',
                what,
                (int(node.source), self._tree.action(number).tobytes()),
                done,
            )
        self._settle_frame(number, parts.get(IMAGE.name))

    def _settle_frame(self, number: int, image: Any) -> None:
        """The start's first state is latched and its image is not: it may be shown later."""
        if image is None:
            self._unpictured.add(number)
            return
        self._unpictured.discard(number)
        frame = self._tree.observation(number).frame
        shown = image.data[: frame.size].reshape(frame.shape)
        same = bool(np.array_equal(frame, shown))
        self._result.compare('frames', f'node {number}', True, same)

    def _take_event(self, event: Any) -> None:
        node, name = int(event.node), str(event.branch)
        if event.kind == EVENT_RESET:
            self._resets.add(node)
        elif event.kind == EVENT_BRANCH:
            self._forks[name] = node
        elif event.kind == EVENT_CHECKPOINT:
            self._checkpoints[str(event.name)] = node
        elif event.kind == EVENT_LABEL:
            self._labels[name] = (int(event.label), str(event.note))

    def finish(self) -> Agreement:
        tree, result = self._tree, self._result
        for parts in self._frames.values():
            self._settle(parts)
        for number in self._unpictured:
            result.compare('frames', f'node {number}', 'a frame', 'none')
        for number in tree.nodes.keys() - self._seen:
            result.compare('nodes', f'node {number}', 'a node', 'no state')
        roots = {node.id for node in tree.nodes.values() if not node.parent}
        # The first start may have been told before the recorder was there.
        first = min(roots, default=0)
        result.compare('starts', 'the session', roots - {first}, self._resets - {first})
        result.compare('checkpoints', 'the session', tree.checkpoints, self._checkpoints)
        for name, branch in tree.branches.items():
            told = (
                self._forks.get(name, 0),
                self._heads.get(name, branch.fork),
                *self._labels.get(name, (0, '')),
            )
            known = (branch.fork, branch.head, int(branch.label), branch.note)
            result.compare('branches', f"'{name}'", known, told)
        return result
