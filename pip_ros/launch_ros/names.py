# SPDX-License-Identifier: Apache-2.0
"""Names of nodes and namespaces."""

from __future__ import annotations

import re

TOKEN = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')


def prefix_namespace(base: str | None, namespace: str | None) -> str | None:
    """Put a relative namespace below `base`; an absolute one stays."""
    if not base or (namespace is not None and namespace.startswith('/')):
        joined = namespace
    elif not namespace:
        joined = base
    else:
        joined = f'{base.rstrip("/")}/{namespace}'
    if joined is not None and len(joined) > 1:
        joined = joined.rstrip('/')
    return joined


def absolute_namespace(namespace: str) -> str:
    """Make a namespace absolute.

    Raises:
        ValueError: it is not made of names.
    """
    absolute = namespace if namespace.startswith('/') else f'/{namespace}'
    if absolute != '/' and not all(TOKEN.fullmatch(part) for part in absolute[1:].split('/')):
        raise ValueError(
            f"'{namespace}' is not a valid namespace: each part between slashes is letters, digits "
            f'and underscores and starts with no digit'
        )
    return absolute


def check_node_name(name: str) -> str:
    """Return the name.

    Raises:
        ValueError: it is not a valid node name.
    """
    if not TOKEN.fullmatch(name):
        raise ValueError(
            f"'{name}' is not a valid node name: it is letters, digits and underscores and starts "
            f'with no digit'
        )
    return name
