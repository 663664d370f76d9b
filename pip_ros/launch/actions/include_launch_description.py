# SPDX-License-Identifier: Apache-2.0
"""Inclusion of a launch file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..action import Action
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..launch_description_source import LaunchDescriptionSource
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitutions.substitution_failure import SubstitutionFailure
from ..utilities import normalize_to_list_of_substitutions
from .opaque_function import OpaqueFunction
from .set_launch_configuration import SetLaunchConfiguration

LOCATION = ('current_launch_file_path', 'current_launch_file_directory')


class IncludeLaunchDescription(Action):
    """Sets the launch arguments as configurations and yields what the file describes.

    As upstream does, it opens no scope: what the file sets stays set. A GroupAction around it does.
    """

    def __init__(
        self,
        launch_description_source: LaunchDescriptionSource | SomeSubstitutionsType,
        *,
        launch_arguments: Iterable[tuple[SomeSubstitutionsType, SomeSubstitutionsType]]
        | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(launch_description_source, LaunchDescriptionSource):
            from ..launch_description_sources import (  # noqa: PLC0415  (a cycle otherwise)
                PythonLaunchDescriptionSource,
            )

            launch_description_source = PythonLaunchDescriptionSource(launch_description_source)
        self.launch_description_source = launch_description_source
        self.launch_arguments = tuple(launch_arguments or ())

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        found = self.launch_description_source.try_get_launch_description_without_context()
        return [] if found is None else [found]

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity]:
        before = {key: context.get_locals_as_dict().get(key) for key in LOCATION}
        description = self.launch_description_source.get_launch_description(context)
        path = self.launch_description_source.location
        context.extend_locals(dict(zip(LOCATION, (path, str(Path(path).parent)), strict=True)))

        given = self._argument_names(context)
        pairs = description.get_launch_arguments_with_include_launch_description_actions()
        for argument, includes in pairs:
            if argument._conditionally_included or argument.default_value is not None:
                continue
            names = given.union(*(include._argument_names(None) for include in includes))
            if argument.name not in names:
                raise RuntimeError(
                    f"Included launch description missing required argument '{argument.name}' "
                    f"(description: '{argument.description}'), given: [{', '.join(sorted(given))}]"
                )

        def restore(context: LaunchContext) -> None:
            context.extend_locals(before)

        settings = [SetLaunchConfiguration(name, value) for name, value in self.launch_arguments]
        return [*settings, description, OpaqueFunction(function=restore)]

    def _argument_names(self, context: LaunchContext | None) -> set[str]:
        """Return the names of the arguments it passes, as far as known without a context."""
        names = set()
        for name, _ in self.launch_arguments:
            subs = normalize_to_list_of_substitutions(name)
            try:
                names.add(subs.perform(context or LaunchContext()))
            except SubstitutionFailure:
                if context is not None:
                    raise
        return names
