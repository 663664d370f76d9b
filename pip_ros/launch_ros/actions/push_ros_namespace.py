# SPDX-License-Identifier: Apache-2.0
"""A namespace for the nodes that follow."""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import normalize_to_list_of_substitutions

from ..names import absolute_namespace, prefix_namespace


class PushRosNamespace(Action):
    """Puts the nodes that follow, within the scope, below the namespace."""

    def __init__(self, namespace: SomeSubstitutionsType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = normalize_to_list_of_substitutions(namespace)

    def execute(self, context: LaunchContext) -> None:
        base = context.launch_configurations.get('ros_namespace')
        pushed = prefix_namespace(base, self.namespace.perform(context))
        context.launch_configurations['ros_namespace'] = absolute_namespace(pushed or '')
