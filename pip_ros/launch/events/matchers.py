# SPDX-License-Identifier: Apache-2.0
"""Functions that choose the action an event is meant for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..action import Action


def matches_action(target_action: Action) -> Callable[[Action], bool]:
    """Return a function that says whether an action is this one."""
    return lambda action: action is target_action
