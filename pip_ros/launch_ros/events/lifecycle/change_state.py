# SPDX-License-Identifier: Apache-2.0
"""The request that a lifecycle node changes its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from launch.event import Event

if TYPE_CHECKING:
    from ...actions.lifecycle_node import LifecycleNode


class ChangeState(Event):
    """Asks the nodes that a function chooses for a transition (`lifecycle_msgs/msg/Transition`)."""

    name = 'launch_ros.events.lifecycle.ChangeState'
    # The numbers of lifecycle_msgs/msg/Transition, whose import would slow every start.
    valid_transitions: ClassVar[dict[int, str]] = {
        0: 'TRANSITION_CREATE',
        1: 'TRANSITION_CONFIGURE',
        2: 'TRANSITION_CLEANUP',
        3: 'TRANSITION_ACTIVATE',
        4: 'TRANSITION_DEACTIVATE',
        5: 'TRANSITION_UNCONFIGURED_SHUTDOWN',
        6: 'TRANSITION_INACTIVE_SHUTDOWN',
        7: 'TRANSITION_ACTIVE_SHUTDOWN',
        8: 'TRANSITION_DESTROY',
    }

    def __init__(
        self, *, lifecycle_node_matcher: Callable[[LifecycleNode], bool], transition_id: int
    ) -> None:
        if transition_id not in self.valid_transitions:
            raise ValueError(
                f"given transition_id of '{transition_id}', expected one of "
                f'{self.valid_transitions}'
            )
        self.lifecycle_node_matcher = lifecycle_node_matcher
        self.transition_id = transition_id
