# SPDX-License-Identifier: Apache-2.0
"""The rollout tree as the console knows it: states add to it, answers of the rig complete it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hiwm_core.rollout_tree import Label
from hiwm_intervention.console_places import Place, Places


@dataclass(frozen=True, slots=True)
class Lane:
    """One branch; see `hiwm_msgs/msg/TreeBranch`."""

    name: str
    root: int
    fork: int
    head: int
    label: Label = Label.NONE
    note: str = ''


class TreeView:
    """Branches, nodes, checkpoints and seeds, and what of them is news.

    Args:
        generation: Counts the trees that this console has known; another number is another tree.
    """

    def __init__(self, generation: int = 0) -> None:
        self.generation = generation
        self.fetched = self.version = 0  # what the rig is asked for is what came after
        self.whole = False
        self.places = Places()
        self.lanes: dict[str, Lane] = {}
        self.checkpoints: dict[str, int] = {}
        self.seeds: dict[int, int] = {}  # root -> seed
        self._numbers: dict[str, int] = {}  # branch -> its number, in the order of hearing
        self._news_nodes: dict[int, None] = {}
        self._news_lanes: dict[str, None] = {}
        self._news_checkpoints = self._news_whole = False

    def see(self, place: Place) -> bool:
        """A state named its node; returns whether the rig has to be asked about its branch."""
        if not place.node:
            return False
        if place.node not in self.places:
            self._put(place)
        lane = self.lanes.get(place.branch)
        if lane is None:
            return True
        if place.node > lane.head:
            self._put_lane(replace(lane, head=place.node))
        return False

    def take(
        self,
        nodes: Iterable[Place],
        lanes: Iterable[Lane],
        checkpoints: Mapping[str, int],
        count: int = 0,
        version: int = 0,
    ) -> None:
        """A part of the tree: nodes, changed branches, all checkpoints, its nodes' number, version.

        From the first part that reaches its end on the view is whole: what comes after is growth.
        """
        for place in nodes:
            self._put(place)
            self.fetched = max(self.fetched, place.node)
        for lane in lanes:
            known = self.lanes.get(lane.name)
            # A branch only grows: a state may have overtaken this answer.
            head = lane.head if known is None else max(lane.head, known.head)
            self._put_lane(replace(lane, head=head))
        self.version = max(self.version, version)
        if checkpoints != self.checkpoints:
            self.checkpoints = dict(checkpoints)
            self._news_checkpoints = True
        if not self.whole and self.fetched >= count:
            self.whole = self._news_whole = True

    def set_seed(self, root: int, seed: int) -> None:
        """A run began from a seed."""
        self.seeds[root] = seed
        for lane in self.lanes.values():
            if lane.root == root:
                self._news_lanes[lane.name] = None

    def free_checkpoint_name(self, stem: str = 'bookmark') -> str:
        """`stem-N` with the smallest N that is free."""
        number = 1
        while f'{stem}-{number}' in self.checkpoints:
            number += 1
        return f'{stem}-{number}'

    def take_news(self) -> dict[str, Any] | None:
        """What has changed since the last call, for `TreeFeed.take`; None if nothing."""
        news_of_all = self._news_checkpoints or self._news_whole
        if not (self._news_nodes or self._news_lanes or news_of_all):
            return None
        news: dict[str, Any] = {
            'generation': self.generation,
            'nodes': [self._tell_place(self.places[node]) for node in self._news_nodes],
            'lanes': [self._tell_lane(self.lanes[name]) for name in self._news_lanes],
            'checkpoints': dict(self.checkpoints) if self._news_checkpoints else None,
            'whole': self.whole,
        }
        self._news_nodes.clear()
        self._news_lanes.clear()
        self._news_checkpoints = self._news_whole = False
        return news

    def _put(self, place: Place) -> None:
        if self.places.put(place):
            self._news_nodes[place.node] = None

    def _put_lane(self, lane: Lane) -> None:
        if self.lanes.get(lane.name) != lane:
            self.lanes[lane.name] = lane
            self._news_lanes[lane.name] = None

    def _number(self, branch: str) -> int:
        return self._numbers.setdefault(branch, len(self._numbers))

    def _tell_place(self, place: Place) -> tuple[int, ...]:
        """A row: node, parent, step, the branch's number, source."""
        number = self._number(place.branch)
        return (place.node, place.parent, place.step, number, int(place.source))

    def _tell_lane(self, lane: Lane) -> dict[str, Any]:
        return {
            'number': self._number(lane.name),
            'name': lane.name,
            'root': lane.root,
            'fork': lane.fork,
            'head': lane.head,
            'label': lane.label.name.lower(),
            'note': lane.note,
            'seed': self.seeds.get(lane.root),
        }
