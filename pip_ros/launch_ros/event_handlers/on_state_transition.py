# SPDX-License-Identifier: Apache-2.0
"""The handler of a lifecycle node's transition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launch.event import Event
from launch.event_handler import EventHandler, SomeReaction

from ..events.lifecycle import StateTransition

if TYPE_CHECKING:
    from ..actions.lifecycle_node import LifecycleNode


class OnStateTransition(EventHandler):
    """Acts on the transitions that agree with all that is given; states are labels ('inactive')."""

    def __init__(
        self,
        *,
        entities: SomeReaction,
        target_lifecycle_node: LifecycleNode | None = None,
        transition: str | None = None,
        start_state: str | None = None,
        goal_state: str | None = None,
        handle_once: bool = False,
    ) -> None:
        def matches(event: Event) -> bool:
            return (
                isinstance(event, StateTransition)
                and target_lifecycle_node in (None, event.action)
                and transition in (None, event.transition)
                and start_state in (None, event.start_state)
                and goal_state in (None, event.goal_state)
            )

        super().__init__(matcher=matches, entities=entities, handle_once=handle_once)
