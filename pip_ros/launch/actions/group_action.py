# SPDX-License-Identifier: Apache-2.0
"""Actions as a group, in a scope of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..some_substitutions_type import SomeSubstitutionsType
from ..unsupported import sentence
from .set_launch_configuration import SetLaunchConfiguration


class PushScope(Action):
    """Begins a scope of launch configurations and environment variables."""

    def execute(self, context: LaunchContext) -> None:
        context.push_scope()


class PopScope(Action):
    """Ends a scope."""

    def execute(self, context: LaunchContext) -> None:
        context.pop_scope()


class GroupAction(Action):
    """Yields actions; what they set ends with the group, unless it is not `scoped`."""

    def __init__(
        self,
        actions: Iterable[LaunchDescriptionEntity],
        *,
        scoped: bool = True,
        forwarding: bool = True,
        launch_configurations: Mapping[str, SomeSubstitutionsType] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not forwarding:
            raise ValueError(sentence('the value False for forwarding of GroupAction'))
        settings = (launch_configurations or {}).items()
        inner = [*(SetLaunchConfiguration(name, value) for name, value in settings), *actions]
        self._entities = [PushScope(), *inner, PopScope()] if scoped else inner

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return self._entities

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        return self._entities
