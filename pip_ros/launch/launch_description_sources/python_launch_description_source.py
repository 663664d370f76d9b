# SPDX-License-Identifier: Apache-2.0
"""A Python launch file as the source of a launch description."""

from __future__ import annotations

from ..launch_description_source import LaunchDescriptionSource
from ..some_substitutions_type import SomeSubstitutionsType
from .python_launch_file import get_launch_description_from_python_launch_file


class PythonLaunchDescriptionSource(LaunchDescriptionSource):
    """A file that defines `generate_launch_description()`."""

    def __init__(self, launch_file_path: SomeSubstitutionsType) -> None:
        super().__init__(launch_file_path, get_launch_description_from_python_launch_file)
