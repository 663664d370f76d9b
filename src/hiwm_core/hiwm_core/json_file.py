# SPDX-License-Identifier: Apache-2.0
"""A result as JSON, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from hiwm_core.error import ErrorCode, HiwmError


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Replace a result. Raises HiwmError(STORAGE_FAULT)."""
    partial = path.with_name(f'.{path.name}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(result, indent=2) + '\n', encoding='utf-8')
        partial.replace(path)
    except OSError as error:
        raise HiwmError(
            f'{path} cannot be written: {error.strerror}', ErrorCode.STORAGE_FAULT
        ) from error
