# SPDX-License-Identifier: Apache-2.0
"""Values of a YAML text changed in place: comments and layout stay as a person wrote them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from hiwm_core.error import ConfigurationError

Path = tuple[str | int, ...]


def replace_values(text: str, values: Mapping[Path, str]) -> str:
    """The text with other values.

    Args:
        values: New values as they are to be written, by where they stand: keys and places in lists.

    Raises:
        ConfigurationError: There is no value at one of the places.
    """
    root = yaml.compose(text)
    spans = []
    for path, value in values.items():
        node = _find(root, path)
        spans.append((node.start_mark.index, node.end_mark.index, value))
    for start, end, value in sorted(spans, reverse=True):
        text = text[:start] + value + text[end:]
    return text


def _find(node: yaml.Node | None, path: Sequence[str | int]) -> yaml.ScalarNode:
    for part in path:
        if isinstance(node, yaml.MappingNode) and isinstance(part, str):
            node = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part] if part < len(node.value) else None
        else:
            node = None
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigurationError(f'there is no value {".".join(map(str, path))} in the file')
    return node
