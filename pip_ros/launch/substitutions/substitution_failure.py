# SPDX-License-Identifier: Apache-2.0
"""The error of a substitution that cannot be performed."""

from __future__ import annotations


class SubstitutionFailure(RuntimeError):  # noqa: N818  (upstream's name)
    """A substitution cannot be performed in this context."""
