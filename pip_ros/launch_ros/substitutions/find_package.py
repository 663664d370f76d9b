# SPDX-License-Identifier: Apache-2.0
"""The folders of an installed package."""

from __future__ import annotations

from ament_index_python.packages import get_package_prefix, get_package_share_directory

from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.substitution import Substitution
from launch.utilities import normalize_to_list_of_substitutions


class FindPackagePrefix(Substitution):
    """The install prefix of a package.

    Raises:
        ament_index_python.packages.PackageNotFoundError: when performed, if there is no package.
    """

    def __init__(self, package: SomeSubstitutionsType) -> None:
        self.package = normalize_to_list_of_substitutions(package)

    def describe(self) -> str:
        return f'{type(self).__name__}(pkg={self.package.describe()})'

    def perform(self, context: LaunchContext) -> str:
        return str(get_package_prefix(self.package.perform(context)))


class FindPackageShare(FindPackagePrefix):
    """The share folder of a package."""

    def perform(self, context: LaunchContext) -> str:
        return str(get_package_share_directory(self.package.perform(context)))
