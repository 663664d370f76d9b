# SPDX-License-Identifier: Apache-2.0
"""The condition that text says true."""

from __future__ import annotations

from ..condition import Condition
from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions, perform_substitutions

TRUE = ('true', '1')
FALSE = ('false', '0')


class InvalidConditionExpressionError(ValueError):
    """The text of a condition is neither true nor false."""


def evaluate_condition_expression(context: LaunchContext, expression: list[Substitution]) -> bool:
    """Perform `expression` and read it as true or false, in any case.

    Raises:
        InvalidConditionExpressionError: it is neither.
    """
    text = perform_substitutions(context, expression)
    word = text.strip().lower()
    if word not in TRUE + FALSE:
        raise InvalidConditionExpressionError(
            f"the condition says '{text}'; one of {', '.join(TRUE + FALSE)} is expected"
        )
    return word in TRUE


class IfCondition(Condition):
    """True if the expression says 'true' or '1'."""

    def __init__(self, predicate_expression: SomeSubstitutionsType) -> None:
        expression = normalize_to_list_of_substitutions(predicate_expression)
        super().__init__(
            predicate=lambda context: evaluate_condition_expression(context, expression)
        )
