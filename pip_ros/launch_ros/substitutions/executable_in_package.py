# SPDX-License-Identifier: Apache-2.0
"""An executable of a package."""

from __future__ import annotations

from pathlib import Path
import shutil

from ament_index_python.packages import get_package_prefix

from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.substitutions import SubstitutionFailure
from launch.utilities import normalize_to_list_of_substitutions


class ExecutableInPackage(Substitution):
    """The path `lib/PACKAGE/EXECUTABLE` below the package's prefix.

    Raises:
        ament_index_python.packages.PackageNotFoundError: when performed, if there is no package.
        SubstitutionFailure: when performed, if the package has no such executable.
    """

    def __init__(self, executable: SomeSubstitutionsType, package: SomeSubstitutionsType) -> None:
        self.executable = normalize_to_list_of_substitutions(executable)
        self.package = normalize_to_list_of_substitutions(package)

    def describe(self) -> str:
        package = self.package.describe()
        return f'ExecInPkg(pkg={package}, exec={self.executable.describe()})'

    def perform(self, context: LaunchContext) -> str:
        executable = self.executable.perform(context)
        package = self.package.perform(context)
        prefix = get_package_prefix(package)
        folder = Path(prefix) / 'lib' / package
        if not folder.is_dir():
            raise SubstitutionFailure(
                f"package '{package}' found at '{prefix}', but libexec directory '{folder}' does "
                f'not exist'
            )
        path = shutil.which(executable, path=str(folder))
        if path is None:
            names = ', '.join(sorted(entry.name for entry in folder.iterdir())) or 'nothing'
            raise SubstitutionFailure(
                f"executable '{executable}' not found on the libexec directory '{folder}'; "
                f'it has: {names}'
            )
        return path
