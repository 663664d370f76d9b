# SPDX-License-Identifier: Apache-2.0
"""The condition that text says false."""

from __future__ import annotations

from ..condition import Condition
from ..some_substitutions_type import SomeSubstitutionsType
from .if_condition import IfCondition


class UnlessCondition(Condition):
    """True if the expression says 'false' or '0'."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        holds = IfCondition(predicate_expression)
        super().__init__(predicate=lambda context: not holds.evaluate(context))
