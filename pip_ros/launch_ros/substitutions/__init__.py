# SPDX-License-Identifier: Apache-2.0
"""Where packages and their executables are."""

from launch.unsupported import refuse_other_names

from .executable_in_package import ExecutableInPackage
from .find_package import FindPackagePrefix, FindPackageShare

__getattr__ = refuse_other_names(__name__)

__all__ = ['ExecutableInPackage', 'FindPackagePrefix', 'FindPackageShare']
