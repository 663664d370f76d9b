# SPDX-License-Identifier: Apache-2.0
"""A path made of parts."""

from __future__ import annotations

from collections.abc import Iterable
import os

from ..launch_context import LaunchContext
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions


class PathJoinSubstitution(Substitution):
    """The parts, each text or a substitution, joined by slashes."""

    def __init__(self, substitutions: Iterable[str | Substitution]) -> None:
        self.substitutions = normalize_to_list_of_substitutions(substitutions)

    def describe(self) -> str:
        return f"LocalVar('{self.substitutions.describe()}')"

    def perform(self, context: LaunchContext) -> str:
        parts = [context.perform_substitution(part) for part in self.substitutions]
        # pathlib would drop a trailing empty part, which upstream keeps as a trailing slash.
        return os.path.join(*parts)  # noqa: PTH118
