# SPDX-License-Identifier: Apache-2.0
"""The conditions that a launch configuration has, or has not, a certain value."""

from __future__ import annotations

from ..condition import Condition
from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import normalize_to_list_of_substitutions


class LaunchConfigurationEquals(Condition):
    """True if the configuration exists and has the value; a value of None asks that it is unset."""

    def __init__(
        self, launch_configuration_name: str, expected_value: SomeSubstitutionsType | None
    ) -> None:
        self._name = launch_configuration_name
        self._expected = expected_value
        super().__init__(predicate=self._equals)

    def _equals(self, context: LaunchContext) -> bool:
        value = context.launch_configurations.get(self._name)
        if self._expected is None or value is None:
            return self._expected is None and value is None
        expected = normalize_to_list_of_substitutions(self._expected)
        return bool(value == expected.perform(context))


class LaunchConfigurationNotEquals(LaunchConfigurationEquals):
    """True where LaunchConfigurationEquals is false."""

    def evaluate(self, context: LaunchContext) -> bool:
        return not super().evaluate(context)
