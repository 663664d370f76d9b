# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hiwm_core.error import ErrorCode, HiwmError


def write_whole(path: Path, data: bytes | str) -> None:
    """Replace a file; its folder is made if it is missing.

    Raises:
        HiwmError: STORAGE_FAULT; what was there before is as it was.
    """
    # Of this process: two that write the same file do not spoil each other's.
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise HiwmError(
            f'{path} cannot be written: {error.strerror}', ErrorCode.STORAGE_FAULT
        ) from error
