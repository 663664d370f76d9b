# SPDX-License-Identifier: Apache-2.0
"""The rollout tree as a bag tells it, to be compared with the rig's own."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LoggedNode:
    """A node as RIG_STATE first showed it; `parent` is 0 for a root.

    `row` is its place in the arrays of `SessionLog`; `stamp` is that of its frame, in nanoseconds.
    """

    id: int
    parent: int
    step: int
    epoch: int
    branch: str
    stamp: int
    row: int


@dataclass(frozen=True, slots=True)
class LoggedBranch:
    """A branch: the same fields as `hiwm_msgs/msg/TreeBranch`."""

    name: str
    root: int
    fork: int
    head: int
    label: int = 0
    note: str = ''


@dataclass
class SessionTree:
    """Nodes, branches, checkpoints and starts of one bag.

    Attributes:
        nodes: By id, in the order of their first appearance.
        branches: By name, in the order of their first appearance.
        checkpoints: Node ids by name.
        seeds: The seed of each root that began with a reset; -1 for an explicit scene.
    """

    nodes: dict[int, LoggedNode] = field(default_factory=dict)
    branches: dict[str, LoggedBranch] = field(default_factory=dict)
    checkpoints: dict[str, int] = field(default_factory=dict)
    seeds: dict[int, int] = field(default_factory=dict)

    def path(self, node: int) -> list[LoggedNode]:
        """From the root (or the oldest ancestor that the bag holds) to a node."""
        backwards = []
        at = self.nodes.get(node)
        while at is not None:
            backwards.append(at)
            at = self.nodes.get(at.parent)
        return backwards[::-1]

    def parents(self) -> dict[int, int]:
        """Every node's parent, 0 for a root."""
        return {node.id: node.parent for node in self.nodes.values()}
