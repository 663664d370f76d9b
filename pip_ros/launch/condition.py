# SPDX-License-Identifier: Apache-2.0
"""The base of conditions: whether an action runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Condition:
    """A predicate over the launch context."""

    def __init__(self, *, predicate: Callable[[LaunchContext], bool]) -> None:
        self._predicate = predicate

    def describe(self) -> str:
        """Describe the condition without a context."""
        return type(self).__name__

    def evaluate(self, context: LaunchContext) -> bool:
        """Say whether the condition holds."""
        return self._predicate(context)
