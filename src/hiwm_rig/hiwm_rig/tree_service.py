# SPDX-License-Identifier: Apache-2.0
"""The rollout tree without its frames, in pages, for whoever wants to draw it."""

from __future__ import annotations

from typing import Any

from hiwm_msgs.msg import TreeBranch, TreeNode

from hiwm_core.rollout_tree import Branch, Node, RolloutTree

MOST_NODES = 1000  # where a request names no number
LARGEST_PAGE = 100 * MOST_NODES


def fill_tree(tree: RolloutTree, request: Any, response: Any) -> None:
    """Answer a `GetTree` request: a page of nodes, changed branches, all checkpoints."""
    first = int(request.after_node) + 1
    count = min(request.max_nodes or MOST_NODES, LARGEST_PAGE)
    last = min(first + count, len(tree.nodes) + 1)
    response.nodes = [_node_message(tree.nodes[number]) for number in range(first, last)]
    response.branches = [_branch_message(branch) for branch in tree.changed(request.since)]
    response.version = tree.version
    response.head, response.epoch = tree.head, tree.epoch
    response.node_count = len(tree.nodes)
    response.checkpoint_names = list(tree.checkpoints)
    response.checkpoint_nodes = list(tree.checkpoints.values())


def _node_message(node: Node) -> TreeNode:
    return TreeNode(
        node=node.id,
        parent=node.parent,
        step=node.step,
        epoch=node.epoch,
        branch=node.branch,
        source=int(node.source),
        progress=float(node.progress),
        success=float(node.success),
    )


def _branch_message(branch: Branch) -> TreeBranch:
    return TreeBranch(
        name=branch.name,
        root=branch.root,
        fork=branch.fork,
        head=branch.head,
        label=int(branch.label),
        note=branch.note,
    )
