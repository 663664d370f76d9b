# SPDX-License-Identifier: Apache-2.0
"""A remapping for the nodes that follow."""

from __future__ import annotations

from typing import Any

from launch.action import Action
from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.utilities import normalize_to_list_of_substitutions


class SetRemap(Action):
    """Remaps `src` to `dst` in the nodes that follow, within the scope."""

    def __init__(
        self, src: SomeSubstitutionsType, dst: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.src = normalize_to_list_of_substitutions(src)
        self.dst = normalize_to_list_of_substitutions(dst)

    def execute(self, context: LaunchContext) -> None:
        rule = (self.src.perform(context), self.dst.perform(context))
        before = context.launch_configurations.get('ros_remaps', [])
        context.launch_configurations['ros_remaps'] = [*before, rule]
