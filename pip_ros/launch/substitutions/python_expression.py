# SPDX-License-Identifier: Apache-2.0
"""The value of a Python expression."""

from __future__ import annotations

from collections.abc import Iterable
import importlib
from typing import Any

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions
from .substitution_failure import SubstitutionFailure


class PythonExpression(Substitution):
    """The text is evaluated; the names of `math` are known in it, and the modules asked for."""

    def __init__(
        self, expression: SomeSubstitutionsType, python_modules: Iterable[str] = ('math',)
    ) -> None:
        self.expression = normalize_to_list_of_substitutions(expression)
        self.python_modules = normalize_to_list_of_substitutions(python_modules)

    def describe(self) -> str:
        modules = ', '.join(module.describe() for module in self.python_modules)
        return f'PythonExpr({self.expression.describe()}, [{modules}])'

    def perform(self, context: LaunchContext) -> str:
        names: dict[str, Any] = {}
        for module in self.python_modules:
            imported = importlib.import_module(context.perform_substitution(module))
            if imported.__name__ == 'math':
                names.update(vars(imported))
            names[imported.__name__] = imported
        text = self.expression.perform(context)
        try:
            return str(eval(text, {}, names))
        except Exception as error:
            raise SubstitutionFailure(
                f'the Python expression ({text}) cannot be evaluated: {error}'
            ) from error
