# SPDX-License-Identifier: Apache-2.0
"""The folder of the launch file that is being included."""

from __future__ import annotations

from ..launch_context import LaunchContext
from ..substitution import Substitution
from .substitution_failure import SubstitutionFailure


class ThisLaunchFileDir(Substitution):
    """The absolute path of the folder of the current launch file."""

    def perform(self, context: LaunchContext) -> str:
        values = context.get_locals_as_dict()
        if 'current_launch_file_directory' not in values:
            raise SubstitutionFailure('ThisLaunchFileDir is used outside of a launch file')
        return str(values['current_launch_file_directory'])
