# SPDX-License-Identifier: Apache-2.0
"""The base of event handlers: which events, and what to do then."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .event import Event
from .launch_description_entity import LaunchDescriptionEntity, SomeEntitiesType, as_entities

if TYPE_CHECKING:
    from .launch_context import LaunchContext

SomeReaction = SomeEntitiesType | Callable[[Any, 'LaunchContext'], SomeEntitiesType | None] | None


class EventHandler:
    """Yields entities, or calls a function that does, for each event that matches."""

    def __init__(
        self,
        *,
        matcher: Callable[[Event], bool],
        entities: SomeReaction = None,
        handle_once: bool = False,
    ) -> None:
        self._matcher = matcher
        self._function = entities if callable(entities) else None
        self.entities = [] if callable(entities) else as_entities(entities)
        self._handle_once = handle_once

    def matches(self, event: Event) -> bool:
        """Say whether this handler acts on `event`."""
        return self._matcher(event)

    def describe(self) -> tuple[str, list[LaunchDescriptionEntity]]:
        """Return a description and the entities known before launching."""
        return type(self).__name__, self.entities

    def handle(self, event: Event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        """Return the entities to visit for `event`."""
        context.extend_locals({'event': event})
        if self._handle_once:
            context.unregister_event_handler(self)
        if self._function is None:
            return self.entities
        return as_entities(self._function(event, context))
