# SPDX-License-Identifier: Apache-2.0
"""A launch description: the entities of a system, and the arguments it declares."""

from __future__ import annotations

from collections.abc import Iterable

from .action import Action
from .actions.declare_launch_argument import DeclareLaunchArgument
from .actions.include_launch_description import IncludeLaunchDescription
from .launch_context import LaunchContext
from .launch_description_entity import LaunchDescriptionEntity
from .unsupported import sentence


class LaunchDescription(LaunchDescriptionEntity):
    """A list of entities that are visited in order."""

    def __init__(
        self,
        initial_entities: Iterable[LaunchDescriptionEntity] | None = None,
        *,
        deprecated_reason: str | None = None,
    ) -> None:
        if deprecated_reason is not None:
            raise TypeError(sentence("the argument 'deprecated_reason' of LaunchDescription"))
        self.entities = list(initial_entities or [])

    def visit(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return self.entities

    def describe_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self.entities

    def add_entity(self, entity: LaunchDescriptionEntity) -> None:
        """Append an entity."""
        self.entities.append(entity)

    def add_action(self, action: Action) -> None:
        """Append an action."""
        self.add_entity(action)

    def get_launch_arguments(
        self, conditional_inclusion: bool = False
    ) -> list[DeclareLaunchArgument]:
        """Return the arguments declared here and in what is included, the first of each name."""
        pairs = self.get_launch_arguments_with_include_launch_description_actions(
            conditional_inclusion
        )
        return [argument for argument, _ in pairs]

    def get_launch_arguments_with_include_launch_description_actions(
        self, conditional_inclusion: bool = False
    ) -> list[tuple[DeclareLaunchArgument, list[IncludeLaunchDescription]]]:
        """Return each declared argument with the includes that lead to it, the outermost first."""
        found: dict[str, tuple[DeclareLaunchArgument, list[IncludeLaunchDescription]]] = {}

        def search(
            entities: Iterable[LaunchDescriptionEntity],
            conditional: bool,
            includes: list[IncludeLaunchDescription],
        ) -> None:
            for entity in entities:
                if isinstance(entity, DeclareLaunchArgument) and entity.name not in found:
                    entity._conditionally_included = conditional or entity.condition is not None
                    found[entity.name] = (entity, includes)
                inner = includes
                if isinstance(entity, IncludeLaunchDescription):
                    inner = [*includes, entity]
                search(entity.describe_sub_entities(), conditional, inner)
                for _, conditional_entities in entity.describe_conditional_sub_entities():
                    search(conditional_entities, True, inner)

        search(self.entities, conditional_inclusion, [])
        return list(found.values())
