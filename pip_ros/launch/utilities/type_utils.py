# SPDX-License-Identifier: Apache-2.0
"""Values that are typed, or given as substitutions whose text is read as that type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args, get_origin

from ..launch_context import LaunchContext
from ..substitution import Substitution
from . import normalize_to_list_of_substitutions

SCALARS = (bool, int, float, str)


def is_substitution(value: Any) -> bool:
    """Say whether `value` is a substitution, or a sequence of substitutions and text."""
    if isinstance(value, Substitution):
        return True
    return (
        isinstance(value, (list, tuple))
        and all(isinstance(item, (str, Substitution)) for item in value)
        and any(isinstance(item, Substitution) for item in value)
    )


def is_uniform(values: Iterable[Any]) -> bool:
    """Say whether all values are scalars of one type."""
    types = {type(value) for value in values}
    return len(types) <= 1 and types <= set(SCALARS)


def coerce_to_type(text: str, data_type: Any = None) -> Any:
    """Read `text` as bool, int, float, str, a list of one, or by YAML's own rules (None).

    Raises:
        ValueError: the text is not of that type.
    """
    if data_type is str:
        return text
    if data_type in (int, float):
        try:
            return data_type(text)
        except ValueError:
            raise ValueError(f"'{text}' is not of type {data_type.__name__}") from None
    import yaml  # noqa: PLC0415  (a launch without parameters starts faster without it)

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"'{text}' cannot be read as YAML: {error}") from None
    item_types = get_args(data_type) if get_origin(data_type) is list else None
    if data_type is None:
        valid = isinstance(value, SCALARS) or (isinstance(value, list) and is_uniform(value))
    elif item_types:
        valid = isinstance(value, list) and all(type(item) is item_types[0] for item in value)
    else:
        valid = type(value) is data_type
    if not valid:
        wanted = 'a bool, int, float, str or a list of one of them'
        if item_types:
            wanted = f'a list of {item_types[0].__name__}'
        elif data_type is not None:
            wanted = f'of type {data_type.__name__}'
        raise ValueError(f"'{text}' is not {wanted}")
    return value


def perform_typed_substitution(context: LaunchContext, value: Any, data_type: Any = None) -> Any:
    """Return `value` as `data_type`; substitutions in it are performed and read as that type.

    Raises:
        ValueError: the performed text is not of that type.
        TypeError: a value without substitutions is not of that type.
    """
    if is_substitution(value):
        text = normalize_to_list_of_substitutions(value).perform(context)
        return coerce_to_type(text, data_type)
    if isinstance(value, (list, tuple)):
        item_type = get_args(data_type)[0] if get_origin(data_type) is list else None
        items = [perform_typed_substitution(context, item, item_type) for item in value]
        if not is_uniform(items):
            raise ValueError(f'{items} is a list of more than one type')
        return items
    if not isinstance(value, SCALARS if data_type is None else data_type):
        expected = 'a scalar or a substitution' if data_type is None else data_type.__name__
        raise TypeError(f"'{value}' is of type {type(value).__name__}, expected {expected}")
    return value
