# SPDX-License-Identifier: Apache-2.0
"""Arrays that are kept for long, in memory pages of their own.

A process that makes a large array for every step and keeps some thousand of them leaves holes among
small things that live for ever: the C library's heap grows although no more is in use (in a world
model's soak by 80 MB in ten minutes). Pages of its own an array gives back to the system whole.
"""

from __future__ import annotations

import mmap

import numpy as np
from numpy.typing import NDArray


def in_own_pages(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy that cannot be written to."""
    if not values.size:
        return values
    kept = np.frombuffer(mmap.mmap(-1, values.nbytes), np.uint8).reshape(values.shape)
    kept[...] = values
    kept.flags.writeable = False
    return kept


def page_bytes(size: int) -> int:
    """What so many bytes take in pages of their own."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
