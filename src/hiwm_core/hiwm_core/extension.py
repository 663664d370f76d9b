# SPDX-License-Identifier: Apache-2.0
"""Backends and policies of other packages, found through entry points.

A package adds a backend by an entry point in the group `hiwm.backends`: a function of the task, the
path of the weights (None if there are none) and the device, which is 'auto', 'cpu' or 'cuda'. It
adds a policy by one in the group `hiwm.policies`: a function of the task and the path.
"""

from __future__ import annotations

from importlib.metadata import entry_points
import json
from pathlib import Path
from typing import Any

from hiwm_core.backend import Backend
from hiwm_core.error import ConfigurationError
from hiwm_core.policy import Policy
from hiwm_core.task import Task

BACKENDS = 'hiwm.backends'
POLICIES = 'hiwm.policies'
NO_POLICY = 'none'  # in the place of a policy's name: nobody but a person drives
DEVICES = ('auto', 'cpu', 'cuda')
CARD = 'card.json'


def load_backend(name: str, task: Task, model: Path | None = None, device: str = 'auto') -> Backend:
    """The backend of that name, ready to start.

    Args:
        device: One of DEVICES; 'auto' is the fastest that there is.

    Raises:
        ConfigurationError: It is not there, or cannot use the weights or the device.
    """
    backend: Backend = _find(BACKENDS, name)(task, model, device)
    return backend


def load_policy(name: str, task: Task, model: Path | None = None) -> Policy:
    """The policy of that name, ready to act. Raises ConfigurationError with a sentence."""
    policy: Policy = _find(POLICIES, name)(task, model)
    return policy


def open_policy(task: Task, which: str) -> Policy:
    """The policy in a folder, whose card says which of the installed ones reads it, or by name.

    Args:
        which: A folder with a card; the name of an installed policy; or such a name, a colon and
            the path that it is given, which need not be one of a file: `lerobot:ID`.

    Raises:
        ConfigurationError: There is neither, or it cannot be used for the task.
    """
    folder = Path(which).expanduser()
    if not which or not folder.is_dir():
        name, colon, model = which.partition(':')
        if name in {point.name for point in entry_points(group=POLICIES)}:
            return load_policy(name, task, Path(model).expanduser() if colon else None)
        raise ConfigurationError(
            f"there is no policy '{which}': it is neither a folder with {CARD} nor the name of an "
            'installed policy'
        )
    if not (folder / CARD).is_file():
        raise ConfigurationError(
            f'{folder} holds no policy: {CARD} is missing; give a folder that training wrote'
        )
    try:
        backbone = str(json.loads((folder / CARD).read_text(encoding='utf-8'))['backbone'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f'{folder / CARD} does not say which policy this is ({type(error).__name__}); '
            f'name a folder with model.safetensors and {CARD}'
        ) from error
    return load_policy(backbone, task, folder)


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
