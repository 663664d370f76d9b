# SPDX-License-Identifier: Apache-2.0
"""Logic on text that says true or false, as YAML reads it."""

from __future__ import annotations

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import SubstitutionList, normalize_to_list_of_substitutions
from ..utilities.type_utils import coerce_to_type
from .substitution_failure import SubstitutionFailure


def _truth(context: LaunchContext, value: SubstitutionList) -> bool:
    try:
        return bool(coerce_to_type(value.perform(context), bool))
    except ValueError as error:
        raise SubstitutionFailure(str(error)) from None


class NotSubstitution(Substitution):
    """'true' if the value says false."""

    def __init__(self, value: SomeSubstitutionsType) -> None:
        self.value = normalize_to_list_of_substitutions(value)

    def describe(self) -> str:
        return f'NotSubstitution({self.value.describe()})'

    def perform(self, context: LaunchContext) -> str:
        return str(not _truth(context, self.value)).lower()


class AndSubstitution(Substitution):
    """'true' if both values say true."""

    def __init__(self, left: SomeSubstitutionsType, right: SomeSubstitutionsType) -> None:
        self.left = normalize_to_list_of_substitutions(left)
        self.right = normalize_to_list_of_substitutions(right)

    def describe(self) -> str:
        left, right = self.left.describe(), self.right.describe()
        return f'{type(self).__name__}({left} {right})'

    def perform(self, context: LaunchContext) -> str:
        left, right = _truth(context, self.left), _truth(context, self.right)
        return str(left and right).lower()


class OrSubstitution(AndSubstitution):
    """'true' if at least one value says true."""

    def perform(self, context: LaunchContext) -> str:
        left, right = _truth(context, self.left), _truth(context, self.right)
        return str(left or right).lower()
