# SPDX-License-Identifier: Apache-2.0
"""Messages as text: YAML and CSV out, YAML in."""

from __future__ import annotations

import array
from dataclasses import dataclass
import re
from typing import Any

import numpy as np
import yaml

from ros2cli.graph import CommandError, interface_class

ELLIPSIS = '...'
ENDLESS = 2**31 - 1
SEQUENCE = re.compile(r'sequence<(.+?)(?:, \d+)?>|(.+)\[\d+\]')


@dataclass(frozen=True)
class TextStyle:
    """How messages are written; `length` limits strings and arrays, None: no limit."""

    length: int | None = 128
    arrays: bool = True
    strings: bool = True
    flow: bool = False


def is_message(value: object) -> bool:
    """Return whether a value is a ROS message."""
    return hasattr(value, 'get_fields_and_field_types')


def plain(value: Any, style: TextStyle, field_type: str = '') -> Any:
    """Return a message as dictionaries, lists and scalars, shortened as the style asks."""
    if is_message(value):
        return {
            name: plain(getattr(value, name), style, kind)
            for name, kind in value.get_fields_and_field_types().items()
        }
    if isinstance(value, bytes):
        value = value.decode('latin-1')
    elif isinstance(value, str) and not style.strings:
        return f'<string length: <{len(value)}>>'
    if isinstance(value, str):
        cut = style.length is not None and len(value) > style.length
        return value[: style.length] + ELLIPSIS if cut else value
    if isinstance(value, (list, tuple, array.array, np.ndarray)):
        if not style.arrays and field_type:
            return _array_name(field_type, len(value))
        cut = style.length is not None and len(value) > style.length
        kept = value[: style.length] if cut else value
        items = kept.tolist() if isinstance(kept, (array.array, np.ndarray)) else kept
        shortened = [plain(item, style) for item in items]
        return [*shortened, ELLIPSIS] if cut else shortened
    return value


def _array_name(field_type: str, length: int) -> str:
    if field_type.startswith('sequence<'):
        return f'<sequence type: {field_type[len("sequence<") : -1]}, length: {length}>'
    return f'<array type: {field_type}>'


def to_yaml(message: Any, style: TextStyle) -> str:
    """Return a message as YAML, each field on its line unless the style says flow."""
    return yaml.dump(
        plain(message, style),
        Dumper=yaml.CSafeDumper,
        sort_keys=False,
        width=ENDLESS,
        allow_unicode=True,
        default_flow_style=style.flow,
    )


def to_csv(message: Any, style: TextStyle) -> str:
    """Return every value of a message, in the order of its fields, with commas between them."""

    def values(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for item in value.values() for text in values(item)]
        if isinstance(value, list):
            return [text for item in value for text in values(item)]
        return [str(value)]

    return ','.join(values(plain(message, style)))


def _class_of(field_type: str) -> type | None:
    """Return the message class inside a field's type, None for a primitive."""
    match = SEQUENCE.fullmatch(field_type)
    inner = (match[1] or match[2]) if match else field_type
    return interface_class(inner, 'msg') if '/' in inner else None


def fill(message: Any, values: Any, path: str = '') -> None:
    """Set a message's fields from what a YAML text held.

    Raises CommandError with the field's name for an unknown field or a value that does not fit.
    """
    if not isinstance(values, dict):
        raise CommandError(
            f"{path or 'the request'} needs fields and values such as '{{a: 1}}', not {values!r}"
        )
    types = message.get_fields_and_field_types()
    for name, value in values.items():
        where = f'{path}.{name}' if path else str(name)
        if name not in types:
            known = ', '.join(types) or 'none'
            raise CommandError(f"there is no field '{where}'; the fields are: {known}")
        try:
            setattr(message, name, _fit(getattr(message, name), value, types[name], where))
        except (AssertionError, ValueError, TypeError, OverflowError) as error:
            raise CommandError(f"'{where}' of type {types[name]} cannot be {value!r}") from error


def _fit(current: Any, value: Any, field_type: str, where: str) -> Any:
    inner = _class_of(field_type)
    if is_message(current):
        fill(current, value, where)
        return current
    if isinstance(current, (list, array.array, np.ndarray)):
        if not isinstance(value, list):
            raise ValueError(value)
        if inner:
            items = [inner() for _ in value]
            for index, (item, part) in enumerate(zip(items, value, strict=True)):
                fill(item, part, f'{where}[{index}]')
            return items
        if isinstance(current, array.array):
            return array.array(current.typecode, value)
        if isinstance(current, np.ndarray):
            return np.array(value, dtype=current.dtype)
        return value
    if isinstance(current, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(current, bytes) and isinstance(value, int):
        return bytes([value])
    if type(value) is not type(current):
        raise ValueError(value)
    return value
