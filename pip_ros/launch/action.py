# SPDX-License-Identifier: Apache-2.0
"""The base of actions: entities with a condition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .condition import Condition
from .launch_description_entity import LaunchDescriptionEntity
from .unsupported import sentence

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Action(LaunchDescriptionEntity):
    """An entity that executes when it is visited, if its condition holds."""

    def __init__(self, *, condition: Condition | None = None, **unsupported: Any) -> None:
        for name in unsupported:
            raise TypeError(sentence(f"the argument '{name}' of {type(self).__name__}"))
        self.condition = condition

    def describe_sub_entities(self) -> Iterable[LaunchDescriptionEntity]:
        return self.get_sub_entities() if self.condition is None else []

    def describe_conditional_sub_entities(
        self,
    ) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        if self.condition is None:
            return []
        return [(f'Conditionally included by {self.describe()}', self.get_sub_entities())]

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        """Return the entities it yields when its condition holds."""
        return []

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if self.condition is None or self.condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        """Act, and return the entities to visit next."""
        return None
