# SPDX-License-Identifier: Apache-2.0
"""The base of substitutions: text that is only known while launching."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .launch_context import LaunchContext


class Substitution:
    """Text that is computed from the launch context when it is needed."""

    def describe(self) -> str:
        """Describe the substitution without a context (`ros2 launch --show-args` prints this)."""
        return f'{type(self).__name__}()'

    def perform(self, context: LaunchContext) -> str:
        """Compute the text."""
        raise NotImplementedError(f'{type(self).__name__} does not say how it is performed')
