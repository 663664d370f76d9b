# SPDX-License-Identifier: Apache-2.0
"""The settings that a folder's results were made with, so that those of others do not join them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hiwm_core.error import ConfigurationError
from hiwm_policy.model import WEIGHTS


def check_settings(path: Path, settings: dict[str, Any], what: str) -> None:
    """Nothing, if the file is not there or says the same.

    Args:
        settings: By name; what JSON can hold.
        what: The folder holds, for the sentence.

    Raises:
        ConfigurationError: It says something else, or is damaged.
    """
    if not path.is_file():
        return
    try:
        known = dict(json.loads(path.read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f'{path} cannot be used: {error}') from error
    asked = json.loads(json.dumps(settings))
    different = [name for name in asked if name not in known or known[name] != asked[name]]
    if different:
        names = ', '.join(name.replace('_', ' ') for name in different)
        raise ConfigurationError(
            f'{path.parent} holds {what} with another {names}; remove it or name another folder'
        )


def weights_sha256(folder: Path | None) -> str | None:
    """SHA-256 of the weights of a policy or a world model; None where there are none."""
    path = folder / WEIGHTS if folder is not None else None
    if path is None or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()
