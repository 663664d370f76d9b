# SPDX-License-Identifier: Apache-2.0
"""Backends and policies of other packages, found through entry points.

A package adds a backend or a policy by an entry point in the group `hiwm.backends` or
`hiwm.policies`: a function of the task and the path of the weights (None if there are none).
"""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hiwm_core.backend import Backend
from hiwm_core.error import ConfigurationError
from hiwm_core.policy import Policy
from hiwm_core.task import Task

BACKENDS = 'hiwm.backends'
POLICIES = 'hiwm.policies'


def load_backend(name: str, task: Task, model: Path | None = None) -> Backend:
    """The backend of that name, ready to reset. Raises ConfigurationError with a sentence."""
    backend: Backend = _find(BACKENDS, name)(task, model)
    return backend


def load_policy(name: str, task: Task, model: Path | None = None) -> Policy:
    """The policy of that name, ready to act. Raises ConfigurationError with a sentence."""
    policy: Policy = _find(POLICIES, name)(task, model)
    return policy


def _find(group: str, name: str) -> Any:
    found = {point.name: point for point in entry_points(group=group)}
    if name not in found:
        kind = group.rsplit('.', maxsplit=1)[-1]
        raise ConfigurationError(
            f"there is nothing named '{name}' among the installed {kind}: "
            f'{", ".join(sorted(found)) or "none"}'
        )
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"'{name}' is installed but cannot be imported ({error}); install what it lacks"
        ) from error
