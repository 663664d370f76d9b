# SPDX-License-Identifier: Apache-2.0
"""Declaration of an argument of a launch file."""

from __future__ import annotations

from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import normalize_to_list_of_substitutions


class DeclareLaunchArgument(Action):
    """Takes the launch configuration of its name, or sets it to the default.

    Raises:
        RuntimeError: at launch, if there is neither value nor default, or the value is no choice.
    """

    def __init__(
        self,
        name: str,
        *,
        default_value: SomeSubstitutionsType | None = None,
        description: str | None = None,
        choices: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if choices is not None and not choices:
            raise RuntimeError(f"the choices of the launch argument '{name}' are empty")
        if choices is not None and isinstance(default_value, str) and default_value not in choices:
            raise RuntimeError(
                f'Provided default_value "{default_value}" is not in provided choices "{choices}".'
            )
        self.name = name
        self.default_value = (
            None if default_value is None else normalize_to_list_of_substitutions(default_value)
        )
        self.choices = choices
        if description is None:
            self.description = f'One of: {choices}' if choices else 'no description given'
        elif choices:
            stop = '' if description.endswith('.') else '.'
            self.description = f'{description}{stop} Valid choices are: {choices}'
        else:
            self.description = description
        self._conditionally_included = False

    def execute(self, context: LaunchContext) -> None:
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(
                    f'Required launch argument "{self.name}" (description: "{self.description}") '
                    f'was not provided'
                )
            default = self.default_value.perform(context)
            context.launch_configurations[self.name] = default
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(
                f'Argument "{self.name}" provided value "{value}" is not valid. '
                f'Valid options are: {self.choices}'
            )
