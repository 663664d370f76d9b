# SPDX-License-Identifier: Apache-2.0
"""Keeping freed memory for the next image.

The C library gives large blocks back to the kernel as soon as they are free and gets them again,
page by page and cleared, for the next image: at 30 Hz of 640x480 that is a third of the recorder's
time.
"""

from __future__ import annotations

import ctypes

# Parameters of glibc's mallopt(3), from malloc.h; the threshold is the largest that it accepts.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory(size: int) -> bool:
    """Let up to `size` freed bytes stay with the process; returns whether the C library can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(
        mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and mallopt(M_TRIM_THRESHOLD, size)
    )
