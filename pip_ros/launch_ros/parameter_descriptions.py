# SPDX-License-Identifier: Apache-2.0
"""Parameter values of a certain type, and parameter files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.launch_context import LaunchContext
from launch.some_substitutions_type import SomeSubstitutionsType
from launch.unsupported import refuse_other_names, sentence
from launch.utilities import normalize_to_list_of_substitutions
from launch.utilities.type_utils import perform_typed_substitution

__getattr__ = refuse_other_names(__name__)


class ParameterValue:
    """A value, or substitutions whose text is read as `value_type`.

    Args:
        value: a scalar, a list of one type of scalar, or substitutions.
        value_type: bool, int, float, str, a list of one (`list[int]`), or None: YAML's own rules.
    """

    def __init__(self, value: Any, *, value_type: Any = None) -> None:
        self.value = value
        self.value_type = value_type

    def evaluate(self, context: LaunchContext) -> Any:
        """Return the value.

        Raises:
            ValueError, TypeError: it is not of the type.
        """
        return perform_typed_substitution(context, self.value, self.value_type)


class ParameterFile:
    """A YAML file of parameters."""

    def __init__(
        self, param_file: SomeSubstitutionsType | Path, *, allow_substs: bool = False
    ) -> None:
        if allow_substs:
            raise ValueError(sentence('the value True for allow_substs of ParameterFile'))
        self.param_file = normalize_to_list_of_substitutions(
            str(param_file) if isinstance(param_file, Path) else param_file
        )

    def evaluate(self, context: LaunchContext) -> Path:
        """Return the path."""
        return Path(self.param_file.perform(context))
