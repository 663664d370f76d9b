# SPDX-License-Identifier: Apache-2.0
"""The console's reports from messages, with explicit types."""

from __future__ import annotations

import sys

from hiwm_msgs.msg import MuxState, RecorderState, RigState, TreeBranch, TreeNode

from hiwm_core.action import Source
from hiwm_core.rollout_tree import Label
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_report import MuxReport, RecorderReport, RigReport
from hiwm_intervention.console_tree import Lane
from hiwm_rig.conversion import nanoseconds_of


def rig_report(message: RigState) -> RigReport:
    """The report of a state."""
    return RigReport(
        stamp=nanoseconds_of(message.header.stamp),
        session=str(message.session),
        task=str(message.task),
        rig=str(message.rig),
        epoch=int(message.epoch),
        node=int(message.node),
        parent=int(message.parent),
        # Every node keeps its branch's name: once in memory, however many nodes it has.
        branch=sys.intern(str(message.branch)),
        step=int(message.step),
        context=bool(message.context),
        mode=int(message.mode),
        pace=int(message.pace),
        can_rollback=bool(message.can_rollback),
        can_branch=bool(message.can_branch),
        progress=float(message.progress),
        success=float(message.success),
        fidelity=float(message.fidelity),
        dropped_actions=int(message.dropped_actions),
        missed_deadlines=int(message.missed_deadlines),
        message=str(message.message),
        can_set_pace=bool(message.can_set_pace),
        speed=float(message.speed),
        tick_time=float(message.tick_time),
        executed_actions=int(message.executed_actions),
    )


def mux_report(message: MuxState) -> MuxReport:
    """The report of a state."""
    return MuxReport(
        stamp=nanoseconds_of(message.header.stamp),
        phase=int(message.phase),
        source=int(message.source),
        operator_id=str(message.operator_id),
        device=str(message.device),
        holding=bool(message.holding),
        reason=str(message.reason),
        rejected_actions=int(message.rejected_actions),
        waiting=bool(message.waiting),
        human_time=float(message.human_time),
        asked_by=str(message.asked_by),
        trigger=int(message.trigger),
    )


def recorder_report(message: RecorderState) -> RecorderReport:
    """The report of a state."""
    return RecorderReport(
        recording=bool(message.recording),
        uri=str(message.uri),
        written_bytes=int(message.written_bytes),
        free_bytes=int(message.free_bytes),
        message=str(message.message),
    )


def lane_of(branch: TreeBranch) -> Lane:
    """A branch of the tree."""
    return Lane(
        name=str(branch.name),
        root=int(branch.root),
        fork=int(branch.fork),
        head=int(branch.head),
        label=Label(branch.label) if branch.label in set(Label) else Label.NONE,
        note=str(branch.note),
    )


def place_of(node: TreeNode) -> Place:
    """A node of the tree."""
    return Place(
        node=int(node.node),
        parent=int(node.parent),
        step=int(node.step),
        branch=sys.intern(str(node.branch)),
        source=Source(node.source) if node.source in set(Source) else Source.NONE,
    )
