# SPDX-License-Identifier: Apache-2.0
"""Node parameters as data: type, range, unit and description in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hiwm_core.error import ConfigurationError


@dataclass(frozen=True)
class Parameter:
    """One parameter of a node.

    Attributes:
        default: Its value if nobody sets it; also gives the type.
        description: One sentence; the unit is in the name or here.
        low: Smallest value allowed, for numbers.
        high: Largest value allowed, for numbers.
        choices: The values allowed, for text.
    """

    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> None:
        """Raises ConfigurationError with a sentence if `value` cannot be used."""
        if self.choices and value not in self.choices:
            raise ConfigurationError(
                f"parameter '{name}' is '{value}'; it must be one of: {', '.join(self.choices)}"
            )
        # Written so that NaN, which compares false with everything, is refused too.
        if self.low is not None and not value >= self.low:
            raise ConfigurationError(
                f"parameter '{name}' is {value}; it must be at least {self.low}"
            )
        if self.high is not None and not value <= self.high:
            raise ConfigurationError(
                f"parameter '{name}' is {value}; it must be at most {self.high}"
            )
