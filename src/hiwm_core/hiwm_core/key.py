# SPDX-License-Identifier: Apache-2.0
"""Randomness as 64-bit keys: each use draws from a key that follows from where it stands.

A root's key is a hash of the session seed and the start, a node's of its parent's key, the action
and the branch's salt, and the step that leads on from a node draws from a hash of the node's key
and the salt. Whoever stands at the same node and does the same draws the same numbers, in the
rollout tree as in a what-if beside it; another salt gives others.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
from numpy.typing import NDArray


def root_key(seed: int, scene: NDArray[np.float64]) -> int:
    """The key of a start (S,) in a session."""
    return _hash(struct.pack('<q', seed), scene.tobytes())


def child_key(key: int, salt: int, action: NDArray[np.float64]) -> int:
    """The key of the node to which an executed action (A,) leads."""
    return _hash(struct.pack('<QQ', key, salt), action.tobytes())


def step_key(key: int, salt: int) -> int:
    """The randomness of the step that leads on from a node."""
    return _hash(struct.pack('<QQ', key, salt))


def continuation_salt(seed: int, number: int) -> int:
    """The salt of one of many continuations, unlike that of any branch of a session."""
    return _hash(b'continuation', struct.pack('<qq', seed, number))


def chunk_key(key: int, salt: int, step: int) -> int:
    """The randomness of what a policy draws so many steps into a continuation."""
    return _hash(b'chunk', struct.pack('<QQq', key, salt, step))


def _hash(*parts: bytes) -> int:
    digest = hashlib.blake2b(b''.join(parts), digest_size=8).digest()
    return int.from_bytes(digest, 'little')
