# SPDX-License-Identifier: Apache-2.0
"""The type of an argument that accepts text, a substitution, or a sequence of both."""

from __future__ import annotations

from collections.abc import Iterable

from .substitution import Substitution

SomeSubstitutionsType = str | Substitution | Iterable[str | Substitution]
