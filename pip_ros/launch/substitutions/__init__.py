# SPDX-License-Identifier: Apache-2.0
"""Text that is known while launching."""

from ..unsupported import refuse_other_names
from .anon_name import AnonName
from .boolean_substitution import AndSubstitution, NotSubstitution, OrSubstitution
from .command import Command
from .environment_variable import EnvironmentVariable
from .equals_substitution import EqualsSubstitution, NotEqualsSubstitution
from .find_executable import FindExecutable
from .launch_configuration import LaunchConfiguration
from .path_join_substitution import PathJoinSubstitution
from .python_expression import PythonExpression
from .substitution_failure import SubstitutionFailure
from .text_substitution import TextSubstitution
from .this_launch_file_dir import ThisLaunchFileDir

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'AndSubstitution',
    'AnonName',
    'Command',
    'EnvironmentVariable',
    'EqualsSubstitution',
    'FindExecutable',
    'LaunchConfiguration',
    'NotEqualsSubstitution',
    'NotSubstitution',
    'OrSubstitution',
    'PathJoinSubstitution',
    'PythonExpression',
    'SubstitutionFailure',
    'TextSubstitution',
    'ThisLaunchFileDir',
]
