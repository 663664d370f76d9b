# SPDX-License-Identifier: Apache-2.0
"""Comparison of two values."""

from __future__ import annotations

import math
from typing import Any

from ..launch_context import LaunchContext
from ..substitution import Substitution
from ..utilities import SubstitutionList, normalize_to_list_of_substitutions
from ..utilities.type_utils import is_substitution

BOOLEANS = {'true': True, '1': True, 'false': False, '0': False}


def _as_substitutions(value: Any) -> SubstitutionList:
    if is_substitution(value):
        return normalize_to_list_of_substitutions(value)
    if value is None:
        value = ''
    elif isinstance(value, bool):
        value = str(value).lower()
    return normalize_to_list_of_substitutions(str(value))


class EqualsSubstitution(Substitution):
    """'true' if both are the same truth value, nearly the same number, or the same text."""

    def __init__(self, left: Any, right: Any) -> None:
        self.left = _as_substitutions(left)
        self.right = _as_substitutions(right)

    def describe(self) -> str:
        left, right = self.left.describe(), self.right.describe()
        return f'{type(self).__name__}({left} {right})'

    def perform(self, context: LaunchContext) -> str:
        return str(self._equal(context)).lower()

    def _equal(self, context: LaunchContext) -> bool:
        left = self.left.perform(context)
        right = self.right.perform(context)
        if left.lower() in BOOLEANS and right.lower() in BOOLEANS:
            return BOOLEANS[left.lower()] == BOOLEANS[right.lower()]
        try:
            return math.isclose(float(left), float(right))
        except ValueError:
            return left == right


class NotEqualsSubstitution(EqualsSubstitution):
    """'true' where EqualsSubstitution says 'false'."""

    def perform(self, context: LaunchContext) -> str:
        return str(not self._equal(context)).lower()
