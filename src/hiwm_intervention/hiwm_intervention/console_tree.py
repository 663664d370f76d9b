# SPDX-License-Identifier: Apache-2.0
"""The rollout tree as the console knows it: states add to it, answers of the rig complete it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hiwm_core.rollout_tree import Label


@dataclass(frozen=True)
class Lane:
    """One branch; see `hiwm_msgs/msg/TreeBranch`."""

    name: str
    root: int
    fork: int
    head: int
    label: Label = Label.NONE
    note: str = ''


@dataclass(frozen=True)
class Place:
    """Where a node lies."""

    step: int
    branch: str


class TreeView:
    """Branches with their lengths, and checkpoints; `version` counts the changes."""

    def __init__(self, version: int = 0) -> None:
        self.version = version
        self.fetched = 0
        self._places: dict[int, Place] = {}
        self._lanes: dict[str, Lane] = {}
        self._checkpoints: dict[str, int] = {}

    @property
    def checkpoint_names(self) -> frozenset[str]:
        return frozenset(self._checkpoints)

    def see(self, node: int, step: int, branch: str) -> bool:
        """A state named its node; returns whether the rig has to be asked about its branch."""
        if not node:
            return False
        if node not in self._places:
            self._places[node] = Place(step, branch)
            self.version += 1
        lane = self._lanes.get(branch)
        if lane is None:
            return True
        if node > lane.head:
            self._lanes[branch] = replace(lane, head=node)
            self.version += 1
        return False

    def take(
        self,
        nodes: Iterable[tuple[int, int, str]],
        lanes: Iterable[Lane],
        checkpoints: Mapping[str, int],
    ) -> None:
        """A part of the tree: (node, step, branch) of nodes, all branches, all checkpoints."""
        for node, step, branch in nodes:
            self._places[node] = Place(step, branch)
            self.fetched = max(self.fetched, node)
        for lane in lanes:
            known = self._lanes.get(lane.name)
            # A branch only grows: a state may have overtaken this answer.
            head = lane.head if known is None else max(lane.head, known.head)
            self._lanes[lane.name] = replace(lane, head=head)
        self._checkpoints = dict(checkpoints)
        self.version += 1

    def free_checkpoint_name(self) -> str:
        """`checkpoint-N` with the smallest N that is free."""
        number = 1
        while f'checkpoint-{number}' in self._checkpoints:
            number += 1
        return f'checkpoint-{number}'

    def tell(self) -> dict[str, Any]:
        """For the page: branches newest first, checkpoints in the order of their nodes."""
        return {
            'branches': [self._tell_lane(lane) for lane in reversed(self._lanes.values())],
            'checkpoints': [
                {'name': name, 'node': node, **self._tell_place(node)}
                for name, node in sorted(self._checkpoints.items(), key=lambda entry: entry[1])
            ],
        }

    def _tell_lane(self, lane: Lane) -> dict[str, Any]:
        head, fork = self._places.get(lane.head), self._places.get(lane.fork)
        began = fork.step if fork else 0
        return {
            'name': lane.name,
            'head': lane.head,
            'step': head.step if head else None,
            'length': head.step - began if head and (fork or not lane.fork) else None,
            'fork_step': fork.step if fork else None,
            'fork_branch': fork.branch if fork else None,
            'label': lane.label.name.lower(),
            'note': lane.note,
        }

    def _tell_place(self, node: int) -> dict[str, Any]:
        place = self._places.get(node)
        return {'step': place.step if place else None, 'branch': place.branch if place else None}
