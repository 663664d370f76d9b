# SPDX-License-Identifier: Apache-2.0
"""The parameters of a node: from what a launch file says to names and typed values.

Text that is written out stays text. The text of substitutions is read by YAML's rules, so that
`LaunchConfiguration('port')` gives an integer for 8080; ParameterValue says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from launch.launch_context import LaunchContext
from launch.substitution import Substitution
from launch.utilities import normalize_to_list_of_substitutions
from launch.utilities.type_utils import SCALARS, coerce_to_type, is_substitution, is_uniform

from .parameter_descriptions import ParameterFile, ParameterValue


class ParameterError(ValueError):
    """A parameter of a node has no valid value."""


def evaluate_parameters(
    context: LaunchContext, parameters: Iterable[Any]
) -> list[Path | dict[str, Any]]:
    """Return files as paths and dictionaries as names and values, in order.

    Raises:
        ParameterError: a value is of no type that ROS parameters have.
        TypeError: an element is neither a file nor a dictionary.
    """
    evaluated: list[Path | dict[str, Any]] = []
    for element in parameters:
        if isinstance(element, Mapping):
            evaluated.append(evaluate_parameter_dict(context, element))
        elif isinstance(element, ParameterFile):
            evaluated.append(element.evaluate(context))
        elif isinstance(element, (str, Path)) or is_substitution(element):
            evaluated.append(ParameterFile(element).evaluate(context))
        else:
            raise TypeError(
                f"the parameters of a node are files and dictionaries, got '{element}' "
                f'({type(element).__name__})'
            )
    return evaluated


def evaluate_parameter_dict(
    context: LaunchContext, parameters: Mapping[Any, Any], prefix: str = ''
) -> dict[str, Any]:
    """Return names, those of nested dictionaries joined by dots, and typed values."""
    evaluated: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + normalize_to_list_of_substitutions(key).perform(context)
        if isinstance(value, Mapping):
            evaluated.update(evaluate_parameter_dict(context, value, f'{name}.'))
            continue
        try:
            evaluated[name] = _evaluate_value(context, value)
        except (ValueError, TypeError) as error:
            raise ParameterError(f"the parameter '{name}' is invalid: {error}") from None
    return evaluated


def _evaluate_value(context: LaunchContext, value: Any) -> Any:
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, (list, tuple)) and not is_concatenation(value):
        return _evaluate_list(context, value)
    if not isinstance(value, (Substitution, list, tuple)):
        raise TypeError(f"'{value}' is of type {type(value).__name__}")
    parts = [value] if isinstance(value, Substitution) else [p for v in value for p in _flat(v)]
    subs = normalize_to_list_of_substitutions(parts)
    result = coerce_to_type(subs.perform(context))
    if result == []:
        raise ValueError('an empty list has no type')
    return result


def is_concatenation(value: Iterable[Any]) -> bool:
    """Say whether a sequence forms one text: a substitution is in it, and no number or bool."""
    items = list(value)
    return any(isinstance(item, Substitution) for item in items) and all(
        isinstance(item, (str, Substitution, list, tuple)) for item in items
    )


def _flat(value: Any) -> list[str | Substitution]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _evaluate_list(context: LaunchContext, values: Iterable[Any]) -> list[Any]:
    items: list[Any] = []
    for value in values:
        if isinstance(value, ParameterValue):
            items.append(value.evaluate(context))
        elif isinstance(value, SCALARS):
            items.append(value)
        else:
            text = normalize_to_list_of_substitutions(value).perform(context)
            items.append(coerce_to_type(text))
    if not items:
        raise ValueError('an empty list has no type')
    if {type(item) for item in items} == {int, float}:
        items = [float(item) for item in items]
    if not is_uniform(items):
        raise ValueError(f'{items} is a list of more than one type')
    return items
