# SPDX-License-Identifier: Apache-2.0
"""The path of a program."""

from __future__ import annotations

import shutil

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions
from .substitution_failure import SubstitutionFailure


class FindExecutable(Substitution):
    """The program as the PATH finds it."""

    def __init__(self, name: SomeSubstitutionsType) -> None:
        self.name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        return f'FindExec({self.name.describe()})'

    def perform(self, context: LaunchContext) -> str:
        name = self.name.perform(context)
        path = shutil.which(name, path=context.environment.get('PATH'))
        if path is None:
            raise SubstitutionFailure(f"executable '{name}' not found on the PATH")
        return path
