# SPDX-License-Identifier: Apache-2.0
"""Where launch descriptions come from."""

from ..unsupported import refuse_other_names
from .python_launch_description_source import PythonLaunchDescriptionSource
from .python_launch_file import (
    InvalidPythonLaunchFileError,
    get_launch_description_from_python_launch_file,
)

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'InvalidPythonLaunchFileError',
    'PythonLaunchDescriptionSource',
    'get_launch_description_from_python_launch_file',
]
