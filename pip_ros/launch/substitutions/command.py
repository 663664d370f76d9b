# SPDX-License-Identifier: Apache-2.0
"""The output of a command."""

from __future__ import annotations

import shlex
import subprocess

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..unsupported import sentence
from ..utilities import normalize_to_list_of_substitutions
from .substitution_failure import SubstitutionFailure


class Command(Substitution):
    """The standard output of a command that succeeds and prints nothing to standard error."""

    def __init__(
        self, command: SomeSubstitutionsType, *, on_stderr: SomeSubstitutionsType = 'fail'
    ) -> None:
        if on_stderr not in ('fail', 'ignore'):
            raise ValueError(sentence(f"the value '{on_stderr}' for on_stderr of Command"))
        self.command = normalize_to_list_of_substitutions(command)
        self._on_stderr = on_stderr

    def describe(self) -> str:
        return f'Command({self.command.describe()})'

    def perform(self, context: LaunchContext) -> str:
        text = self.command.perform(context)
        try:
            result = subprocess.run(shlex.split(text), capture_output=True, text=True, check=False)
        except OSError as error:
            raise SubstitutionFailure(f"the command '{text}' cannot be run: {error}") from None
        if result.returncode != 0:
            raise SubstitutionFailure(
                f"the command '{text}' failed with exit code {result.returncode}: {result.stderr}"
            )
        if result.stderr and self._on_stderr == 'fail':
            raise SubstitutionFailure(f"the command '{text}' wrote to stderr: {result.stderr}")
        return result.stdout
