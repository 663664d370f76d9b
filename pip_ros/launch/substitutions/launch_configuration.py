# SPDX-License-Identifier: Apache-2.0
"""The value of a launch configuration."""

from __future__ import annotations

from typing import Any

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions
from .substitution_failure import SubstitutionFailure


class LaunchConfiguration(Substitution):
    """The value of a launch argument or of SetLaunchConfiguration, or the default."""

    def __init__(self, variable_name: SomeSubstitutionsType, *, default: Any = None) -> None:
        self.variable_name = normalize_to_list_of_substitutions(variable_name)
        if isinstance(default, (bool, int, float)):
            default = str(default)
        self._default = None if default is None else normalize_to_list_of_substitutions(default)

    def describe(self) -> str:
        return f'LaunchConfig({self.variable_name.describe()})'

    def perform(self, context: LaunchContext) -> str:
        name = self.variable_name.perform(context)
        if name in context.launch_configurations:
            return str(context.launch_configurations[name])
        if self._default is None:
            raise SubstitutionFailure(f"launch configuration '{name}' does not exist")
        return self._default.perform(context)
