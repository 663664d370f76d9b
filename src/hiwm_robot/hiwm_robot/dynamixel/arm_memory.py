# SPDX-License-Identifier: Apache-2.0
"""Memory in which an arm's control loop tells what it does, for another process to look at.

The newest state stands in one of two places in turn, with a checksum: whoever looks finds a whole
one without ever keeping the loop waiting, also after the loop was killed in the middle of writing.
Times of turns and answers stand in rings, of which a reader takes what is there.
"""

from __future__ import annotations

from collections.abc import Mapping
import mmap
import os
from typing import Any
import zlib

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

KEPT_TIMES = 6000  # of each ring
RINGS = ('lateness', 'busy', 'answers')
SENTENCE = 480  # bytes of UTF-8; what is longer is cut
PLACES = 2
# Another look at a state that was being written; it takes microseconds.
ATTEMPTS = 100
CHECKSUM = 4  # bytes


def _state_type(joints: int, values: int) -> np.dtype[Any]:
    """What is told: J joints, A values of the task."""
    per_joint = ('angles', 'speeds', 'currents', 'voltages', 'temperatures', 'goal')
    return np.dtype(
        [
            ('turn', '<u8'),  # counts up with every telling
            ('stamp', '<f8'),  # s, steady
            ('heard', '<u4'),  # number of the newest order that was heard
            ('phase', 'u1'),
            ('measured', 'u1'),  # whether what is measured means anything yet
            ('sent', 'u1'),  # and the goal
            ('missed', '<u8'),
            ('overruns', '<u8'),
            *((f'{ring}_count', '<u8') for ring in RINGS),
            *((name, '<f8', (joints,)) for name in per_joint),
            ('alerts', 'u1', (joints,)),
            ('values', '<f8', (values,)),
            ('executed', '<f8', (values,)),
            ('message', f'S{SENTENCE}'),
            ('stop_reason', f'S{SENTENCE}'),
        ]
    )


class ArmMemory:
    """Shared memory with one writer.

    Args:
        descriptor: Of a file of memory, from `create` or inherited; belongs to this object.
        joints: J.
        values: A.
    """

    def __init__(self, descriptor: int, joints: int, values: int) -> None:
        self.descriptor = descriptor
        self._type = _state_type(joints, values)
        self._place_size = CHECKSUM + self._type.itemsize
        # The rings begin at a multiple of 8, so that each of their values is written at once.
        self._rings_at = -(-PLACES * self._place_size // 8) * 8
        size = self._rings_at + len(RINGS) * KEPT_TIMES * 8
        if os.fstat(descriptor).st_size < size:
            os.ftruncate(descriptor, size)
        self._memory = mmap.mmap(descriptor, size)
        self._state = np.zeros(1, self._type)
        self._known: np.void | None = None

    @classmethod
    def create(cls, joints: int, values: int) -> ArmMemory:
        """New memory; `descriptor` is to be inherited by the writer."""
        return cls(os.memfd_create('arm', 0), joints, values)

    def close_file(self) -> None:
        """From now on nobody can inherit it; what is mapped stays."""
        os.close(self.descriptor)

    # -- the writer ------------------------------------------------------------------------------

    def note(self, ring: str, seconds: float) -> None:
        """A time for a ring; seen once the next state is told."""
        count = int(self._state[f'{ring}_count'][0])
        at = self._ring_at(ring) + 8 * (count % KEPT_TIMES)
        self._memory[at : at + 8] = np.float64(seconds).tobytes()
        self._state[f'{ring}_count'] = count + 1

    def tell(self, fields: Mapping[str, Any]) -> None:
        """A new state: the fields that are named, and the others as they were."""
        state = self._state
        for name, value in fields.items():
            state[name] = value.encode()[:SENTENCE] if isinstance(value, str) else value
        state['turn'] += 1
        data = state.tobytes()
        at = int(state['turn'][0] % PLACES) * self._place_size
        self._memory[at : at + self._place_size] = _checksum(data) + data

    # -- readers ---------------------------------------------------------------------------------

    def look(self) -> np.void | None:
        """The newest state; None before the first."""
        for _ in range(ATTEMPTS):
            found = [state for place in range(PLACES) if (state := self._read(place)) is not None]
            if found:
                self._known = max(found, key=lambda state: int(state['turn']))
                break
            if not any(self._memory[: PLACES * self._place_size]):
                break
        return self._known

    def times(self, ring: str) -> FloatArray:
        """s, the newest of a ring, in no order."""
        state = self.look()
        count = 0 if state is None else min(int(state[f'{ring}_count']), KEPT_TIMES)
        at = self._ring_at(ring)
        return np.frombuffer(self._memory[at : at + 8 * count], np.float64)

    def _read(self, place: int) -> np.void | None:
        at = place * self._place_size
        data = self._memory[at : at + self._place_size]
        if data[:CHECKSUM] != _checksum(data[CHECKSUM:]):
            return None
        state: np.void = np.frombuffer(data, self._type, 1, CHECKSUM)[0]
        return state

    def _ring_at(self, ring: str) -> int:
        return self._rings_at + RINGS.index(ring) * KEPT_TIMES * 8


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(CHECKSUM, 'little')


def sentence(field: bytes) -> str:
    """The text of a field that holds one."""
    return bytes(field).decode(errors='ignore')
