# SPDX-License-Identifier: Apache-2.0
"""What a session's report says of each branch, without the nodes that made it."""

from __future__ import annotations

from dataclasses import dataclass
import math

LABEL_NONE = 0


@dataclass
class BranchFigures:
    """One branch.

    Attributes:
        name: Its name.
        fork: Node where it left another one; 0: it began with a reset; -1: before the recording.
        begun: s since the recording began.
        head: Its last node.
        steps: Made on it while it was recorded.
        corrective: Of these, the operator's.
        progress: Of its last frame; NaN unknown.
        best: The highest progress on it; NaN unknown.
        label: Label.LABEL_*.
        note: The operator's words with the label.
        judged: A person has judged it, be it to take a label back.
        continued: Another branch goes on from its head.
        rooted: Its head has an ancestor, so that its path has more than one frame.
        own: A node was made on it.
    """

    name: str
    fork: int
    begun: float
    head: int = 0
    steps: int = 0
    corrective: int = 0
    progress: float = math.nan
    best: float = math.nan
    label: int = LABEL_NONE
    note: str = ''
    judged: bool = False
    continued: bool = False
    rooted: bool = False
    own: bool = False

    @property
    def is_episode(self) -> bool:
        """Whether `hiwm_core.episodes` makes an episode of it."""
        return self.rooted and ((self.own and not self.continued) or self.label != LABEL_NONE)


class Branches:
    """All branches of a recording, by name, in the order of their appearance."""

    def __init__(self) -> None:
        self.by_name: dict[str, BranchFigures] = {}
        self._by_head: dict[int, BranchFigures] = {}

    def fork(self, name: str, node: int, at: float) -> None:
        """A branch was made at a node."""
        branch = self.by_name.setdefault(name, BranchFigures(name, node, at, node))
        branch.rooted = True

    def label(self, name: str, node: int, label: int, note: str, at: float) -> None:
        """A person judged a branch."""
        branch = self.by_name.setdefault(name, BranchFigures(name, -1, at, node, rooted=True))
        branch.label, branch.note, branch.judged = label, note, True

    def node(self, name: str, node: int, parent: int, progress: float, at: float) -> bool:
        """A node was made on a branch; returns whether the branch is new."""
        branch = self.by_name.get(name)
        new = branch is None or not branch.own
        if branch is None:
            # A fork is told before its first node.
            branch = self.by_name[name] = BranchFigures(name, -1 if parent else 0, at)
        elsewhere = self._by_head.get(parent)
        if elsewhere is not None and elsewhere is not branch:
            elsewhere.continued = True
        if self._by_head.get(branch.head) is branch:
            del self._by_head[branch.head]
        self._by_head[node] = branch
        branch.head, branch.own = node, True
        branch.rooted = branch.rooted or parent != 0
        branch.steps += parent != 0
        branch.progress = progress
        branch.best = progress if math.isnan(branch.best) else max(branch.best, progress)
        return new
