# SPDX-License-Identifier: Apache-2.0
"""A parameter for the nodes that follow."""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType

from ..parameters import evaluate_parameter_dict


class SetParameter(Action):
    """Sets the parameter on the nodes that follow, within the scope; their own values win."""

    def __init__(self, name: SomeSubstitutionsType, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._name = tuple(name) if isinstance(name, list) else name
        self._value = value

    def execute(self, context: LaunchContext) -> None:
        added = evaluate_parameter_dict(context, {self._name: self._value})
        before = context.launch_configurations.get('global_params', [])
        # A new list, so that what is set in a group ends with the group.
        context.launch_configurations['global_params'] = [*before, *added.items()]
