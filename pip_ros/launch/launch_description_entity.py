# SPDX-License-Identifier: Apache-2.0
"""The base of what a launch description consists of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class LaunchDescriptionEntity:
    """Something that can be visited: it acts and yields further entities."""

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        """Act, and return the entities to visit next."""
        raise NotImplementedError(f'{type(self).__name__} cannot be visited')

    def describe(self) -> str:
        """Describe the entity without a context."""
        return type(self).__name__

    def describe_sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        """Return the entities it always yields, as far as known before launching."""
        return []

    def describe_conditional_sub_entities(
        self,
    ) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        """Return (condition, entities) pairs of what it yields in certain cases only."""
        return []

    def get_asyncio_future(self) -> asyncio.Future[Any] | None:
        """Return what is pending until the entity is done, None if it is done after its visit."""
        return None


SomeEntitiesType = LaunchDescriptionEntity | Iterable[LaunchDescriptionEntity]


def as_entities(entities: SomeEntitiesType | None) -> list[LaunchDescriptionEntity]:
    """Make a list of one entity, several, or none.

    Raises:
        TypeError: something in it is no launch entity.
    """
    if entities is None:
        return []
    if isinstance(entities, LaunchDescriptionEntity):
        return [entities]
    result = [entity for entity in entities if entity is not None]
    for entity in result:
        if not isinstance(entity, LaunchDescriptionEntity):
            raise TypeError(
                f"expected launch actions, got '{entity}' of type {type(entity).__name__}"
            )
    return result
