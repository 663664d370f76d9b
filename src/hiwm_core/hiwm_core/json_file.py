# SPDX-License-Identifier: Apache-2.0
"""A result as JSON, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from hiwm_core.whole_file import write_whole


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Replace a result; its folder is made if it is missing.

    Raises:
        HiwmError: STORAGE_FAULT; what was there before is as it was.
        ValueError: A number is NaN or infinite, for which JSON has no word.
    """
    write_whole(path, json.dumps(result, indent=2, allow_nan=False) + '\n')
