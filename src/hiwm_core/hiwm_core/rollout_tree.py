# SPDX-License-Identifier: Apache-2.0
"""The rollout tree: every step of a session, each reachable again at no cost.

A node holds one observation, the action that led to it and its parent. A checkpoint is a name for
a node, a branch is a name for a path from a root to a head. The tree lives in a journal; frames are
read back from it when they are asked for, so that memory holds only what is needed to find them.

Randomness: a node's `key` is a hash of its parent's key, the action and the branch's salt, and a
root's of the session seed and the start. A branch takes over the salt of the branch that its fork
was made on, unless it is to be resampled. The same node and the same actions therefore draw the
same numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.journal import Journal
from hiwm_core.key import child_key, root_key, step_key
from hiwm_core.node_table import NodeTable
from hiwm_core.observation import Observation
from hiwm_core.own_pages import in_own_pages, page_bytes
from hiwm_core.tree_node import Branch, Label, Node
from hiwm_core.tree_record import (
    LONGEST_NAME,
    branch_of,
    decode_action,
    decode_change,
    decode_node,
    decode_observation,
    encode_branch,
    encode_change,
    encode_node,
    is_node,
)

JOURNAL_NAME = 'tree.journal'
CACHED_BYTES = 64_000_000


class RolloutTree:
    """The tree of one session.

    Args:
        folder: Where the journal lies; what is there already is read.
        seed: The session's seed, for the keys; kept from the journal if that has one.

    Attributes:
        epoch: Raised by every discontinuity; 0 before the first root.
        head: The node where the session stands; 0 before the first root.
        head_branch: The branch on which it goes on from there.

    Raises:
        HiwmError: The journal cannot be used.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.seed = seed
        self.epoch = 0
        self.head = 0
        self.head_branch = ''
        self.nodes = NodeTable()
        self.branches: dict[str, Branch] = {}
        self._changed: dict[str, int] = {}  # branch -> the journal's record that changed it last
        self.checkpoints: dict[str, int] = {}
        self._cache: OrderedDict[int, Observation] = OrderedDict()
        self._cached_bytes = 0
        self._free_numbers: dict[str, int] = {}
        self._path = folder / JOURNAL_NAME
        self._journal = Journal(self._path, self._replay)
        try:
            if not len(self._journal):
                self._journal.append(encode_change('session', seed=seed))
        except HiwmError:
            self.close()
            raise

    # -- reading ---------------------------------------------------------------------------------

    def node(self, node_id: int) -> Node:
        """Raises HiwmError (UNKNOWN_NODE) if there is none."""
        try:
            return self.nodes[node_id]
        except KeyError:
            raise HiwmError(
                f'there is no node {node_id}; the tree has '
                + (f'nodes 1 to {len(self.nodes)}' if self.nodes else 'no nodes yet'),
                ErrorCode.UNKNOWN_NODE,
            ) from None

    def branch(self, name: str) -> Branch:
        """Raises HiwmError (UNKNOWN_BRANCH) if there is none."""
        try:
            return self.branches[name]
        except KeyError:
            raise HiwmError(
                f"there is no branch '{name}'; "
                f'the branches are: {", ".join(self.branches) or "none"}',
                ErrorCode.UNKNOWN_BRANCH,
            ) from None

    def checkpoint(self, name: str) -> Node:
        """Raises HiwmError (UNKNOWN_CHECKPOINT) if there is none."""
        if name not in self.checkpoints:
            known = ', '.join(self.checkpoints) or 'none'
            raise HiwmError(
                f"there is no checkpoint '{name}'; the checkpoints are: {known}",
                ErrorCode.UNKNOWN_CHECKPOINT,
            )
        return self.nodes[self.checkpoints[name]]

    def observation(self, node_id: int) -> Observation:
        """What was observed at a node, bit for bit."""
        self.node(node_id)
        if node_id in self._cache:
            self._cache.move_to_end(node_id)
            return self._cache[node_id]
        observation = decode_observation(self._journal.read(self.nodes.record(node_id)))
        return self._remember(node_id, observation)

    def action(self, node_id: int) -> NDArray[np.float64]:
        """What was executed on the way to a node, float64 (A,), bit for bit; empty for a root."""
        self.node(node_id)
        return decode_action(self._journal.read(self.nodes.record(node_id)))

    def ancestors(self, node_id: int) -> Iterator[Node]:
        """The node, its parent and so on to the root."""
        node = self.node(node_id)
        while True:
            yield node
            if not node.parent:
                return
            node = self.nodes[node.parent]

    def history(self, node_id: int, length: int) -> list[Node]:
        """The newest nodes of the path to a node, oldest first; fewer than `length` near a root."""
        newest = []
        for node in self.ancestors(node_id):
            newest.append(node)
            if len(newest) == length:
                break
        return newest[::-1]

    @property
    def version(self) -> int:
        """Grows with every change; the same for a tree that was opened again."""
        return len(self._journal)

    def changed(self, since: int) -> Iterator[Branch]:
        """The branches that have changed since a version, in the order of making."""
        names = [name for name, record in self._changed.items() if record >= since]
        return (self.branches[name] for name in names)

    def free_branch_name(self, stem: str) -> str:
        """`stem-N` with the smallest N that no branch has."""
        number = self._free_numbers.get(stem, 1)
        while f'{stem}-{number}' in self.branches:
            number += 1
        # Names are never given back, so the next search begins here.
        self._free_numbers[stem] = number
        return f'{stem}-{number}'

    # -- writing ---------------------------------------------------------------------------------

    def move_head(self, node_id: int, branch: str = '') -> int:
        """Make a node the head in a new epoch; returns the epoch.

        It goes on from there on `branch`, or else on the branch that the node was made on.
        """
        name = self.branch(branch or self.node(node_id).branch).name
        self._journal.append(encode_change('head', node=node_id, branch=name, epoch=self.epoch + 1))
        self.epoch += 1
        self.head = node_id
        self.head_branch = name
        return self.epoch

    def add_root(self, observation: Observation, branch: str, key: int) -> Node:
        """A new start on a new branch, and the head in a new epoch."""
        self._check_free(branch)
        node = Node(
            id=len(self.nodes) + 1,
            parent=0,
            step=0,
            epoch=self.epoch + 1,
            branch=branch,
            source=Source.NONE,
            key=key,
            progress=observation.progress,
            success=observation.success,
        )
        self._add(node, np.empty(0), observation)
        return node

    def add_child(
        self, observation: Observation, action: NDArray[np.float64], source: Source, branch: str
    ) -> Node:
        """A step from the head on a branch; the new node is the head."""
        parent = self.node(self.head)
        node = Node(
            id=len(self.nodes) + 1,
            parent=parent.id,
            step=parent.step + 1,
            epoch=self.epoch,
            branch=branch,
            source=source,
            key=self.child_key(parent, action, branch),
            progress=observation.progress,
            success=observation.success,
        )
        self._add(node, action, observation)
        return node

    def add_branch(self, name: str, fork: int, *, salt: int | None = None) -> Branch:
        """Another continuation of a node, with the salt of the node's branch or one of its own."""
        self._check_free(name)
        came_from = self.branch(self.node(fork).branch)
        return self._put_branch(
            Branch(
                name,
                root=came_from.root,
                fork=fork,
                head=fork,
                salt=came_from.salt if salt is None else salt,
            )
        )

    def add_checkpoint(self, name: str, node_id: int) -> Node:
        """Give a node a name."""
        node = self.node(node_id)
        if not name:
            raise HiwmError('a checkpoint needs a name')
        if name in self.checkpoints:
            raise HiwmError(
                f"a checkpoint '{name}' exists already; choose another name", ErrorCode.NAME_TAKEN
            )
        self._journal.append(encode_change('checkpoint', name=name, node=node_id))
        self.checkpoints[name] = node_id
        return node

    def label(self, name: str, label: Label, note: str) -> Branch:
        """Judge a branch."""
        return self._put_branch(replace(self.branch(name), label=label, note=note))

    def root_key(self, scene: NDArray[np.float64]) -> int:
        """The key of a start."""
        return root_key(self.seed, scene)

    def child_key(self, parent: Node, action: NDArray[np.float64], branch: str) -> int:
        """The key of a child; the same for the same parent, action and salt."""
        return child_key(parent.key, self.branch(branch).salt, action)

    def step_key(self, node_id: int, branch: str) -> int:
        """The randomness of the step that leads on from a node on a branch."""
        return step_key(self.node(node_id).key, self.branch(branch).salt)

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    # -- the journal -----------------------------------------------------------------------------

    def _add(self, node: Node, action: NDArray[np.float64], observation: Observation) -> None:
        number = self._journal.append(encode_node(node, action, observation))
        self._take_node(number, node)
        self._remember(node.id, observation)

    def _take_node(self, number: int, node: Node) -> None:
        """What the record of a node changes, written now or read back."""
        self.nodes.append(node, number)
        self.epoch = node.epoch
        self.head = node.id
        self.head_branch = node.branch
        if node.parent:
            branch = replace(self.branches[node.branch], head=node.id)
        else:
            branch = Branch(node.branch, root=node.id, fork=0, head=node.id)
        self._take_branch(number, branch)

    def _take_branch(self, number: int, branch: Branch) -> None:
        self.branches[branch.name] = branch
        self._changed[branch.name] = number

    def _put_branch(self, branch: Branch) -> Branch:
        self._take_branch(self._journal.append(encode_branch(branch)), branch)
        return branch

    def _check_free(self, name: str) -> None:
        if name in self.branches:
            raise HiwmError(
                f"a branch '{name}' exists already; choose another name", ErrorCode.NAME_TAKEN
            )
        if len(name.encode()) > LONGEST_NAME:
            raise HiwmError(f"a branch's name has at most {LONGEST_NAME} bytes; choose another")

    def _remember(self, node_id: int, observation: Observation) -> Observation:
        observation = replace(observation, frame=in_own_pages(observation.frame))
        self._cache[node_id] = observation
        self._cached_bytes += _size(observation)
        while self._cached_bytes > CACHED_BYTES and len(self._cache) > 1:
            _, oldest = self._cache.popitem(last=False)
            self._cached_bytes -= _size(oldest)
        return observation

    def _replay(self, number: int, payload: bytes) -> None:
        """Apply a record that was read back."""
        try:
            if is_node(payload):
                self._take_node(number, decode_node(payload))
            else:
                self._take_change(number, decode_change(payload))
        except (LookupError, ValueError, TypeError, struct.error) as error:
            raise HiwmError(
                f'record {number} of {self._path} is not of a rollout tree ({error!r}); '
                'move the file away or choose another folder',
                ErrorCode.STORAGE_FAULT,
            ) from error

    def _take_change(self, number: int, fields: dict[str, Any]) -> None:
        kind = fields['kind']
        if kind == 'session':
            self.seed = fields['seed']
        elif kind == 'head':
            self.head, self.head_branch = fields['node'], fields['branch']
            self.epoch = fields['epoch']
        elif kind == 'checkpoint':
            self.checkpoints[fields['name']] = fields['node']
        elif kind == 'branch':
            self._take_branch(number, branch_of(fields))
        else:
            raise ValueError(f'unknown kind {kind}')


def _size(observation: Observation) -> int:
    return page_bytes(observation.frame.nbytes) + observation.state.nbytes
