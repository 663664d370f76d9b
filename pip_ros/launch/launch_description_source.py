# SPDX-License-Identifier: Apache-2.0
"""Where a launch description comes from: a file that is read when it is included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .launch_context import LaunchContext
from .some_substitutions_type import SomeSubstitutionsType
from .substitutions.substitution_failure import SubstitutionFailure
from .utilities import normalize_to_list_of_substitutions

if TYPE_CHECKING:
    from .launch_description import LaunchDescription


class LaunchDescriptionSource:
    """A launch file whose path may use substitutions; it is read once."""

    def __init__(
        self,
        location: SomeSubstitutionsType,
        load: Callable[[str], LaunchDescription],
    ) -> None:
        self._location = normalize_to_list_of_substitutions(location)
        self._load = load
        self._path: str | None = None
        self._launch_description: LaunchDescription | None = None

    @property
    def location(self) -> str:
        """The path, or its description before it is known."""
        return self._path or self._location.describe()

    def get_launch_description(self, context: LaunchContext) -> LaunchDescription:
        """Read the file.

        Raises:
            FileNotFoundError: there is no such file.
            InvalidLaunchFileError: the file is not a launch file.
        """
        if self._launch_description is None:
            path = Path(self._location.perform(context))
            if not path.is_file():
                raise FileNotFoundError(f"the launch file '{path}' does not exist")
            self._path = str(path.absolute())
            self._launch_description = self._load(self._path)
        return self._launch_description

    def try_get_launch_description_without_context(self) -> LaunchDescription | None:
        """Read the file if its path does not depend on the launch, else return None."""
        try:
            return self.get_launch_description(LaunchContext())
        except (SubstitutionFailure, FileNotFoundError, LookupError):
            return None
