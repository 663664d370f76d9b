# SPDX-License-Identifier: Apache-2.0
"""What the page and the server say to each other over the WebSocket.

The page sends JSON texts:
  {"type": "hold", "keys": ["d"]}             the keys that are down, 20 times a second while it
  drives {"type": "ask", "id": 7, "name": "rollback", "steps": 10}     one of ASKS; answered by a
  reply {"type": "seen", "seq": 12}                 the view of that number is on the screen
The server sends JSON texts:
  {"type": "hello", "page": "...", "task": {...}, ...}          once, first
  {"type": "reply", "id": 7, "ok": true, "text": "..."}
and views as binary: four bytes, little endian, the length of a JSON text; the text; then the newest
frame as PNG or JPEG, or nothing if the frame did not change. A view carries its number as "seq",
and "stamp", the frame's time stamp in nanoseconds as a text. A page that falls behind gets the
newest view next and never a backlog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST_MESSAGE = 4096
LONGEST_NAME = 64
LONGEST_NOTE = 500
MOST_KEYS = 32
# Frames up to this many pixels travel without loss; larger ones as JPEG of this quality.
LOSSLESS_PIXELS = 256 * 256
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Whole:
    """A whole number of an ask."""

    low: int
    high: int
    default: int | None = None

    def read(self, value: object) -> int | None:
        """The value, or None if it is not one."""
        fits = type(value) is int and self.low <= value <= self.high
        return value if fits else None  # type: ignore[return-value]


@dataclass(frozen=True)
class Text:
    """A text of an ask, stripped."""

    longest: int
    default: str | None = ''
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> str | None:
        """The value, or None if it is not one."""
        if not isinstance(value, str) or len(value) > self.longest or not value.isprintable():
            return None
        return value.strip() if not self.choices or value in self.choices else None


LABELS = ('none', 'success', 'failure', 'discard')

# Every ask with its fields; a field without a default must be there.
ASKS: Mapping[str, Mapping[str, Whole | Text]] = {
    'take_over': {},
    'release': {},
    'pause': {},
    'resume': {},
    'stop': {},
    'unlock': {},
    'step': {'count': Whole(1, 100, default=1)},
    'rollback': {'steps': Whole(1, 2**32 - 1)},
    'go_to': {'node': Whole(1, 2**53)},
    'branch': {'called': Text(LONGEST_NAME)},
    'checkpoint': {'called': Text(LONGEST_NAME)},
    'reset': {'seed': Whole(-1, 2**31 - 1, default=-1)},
    'label': {
        'label': Text(LONGEST_NAME, default=None, choices=LABELS),
        'branch': Text(LONGEST_NAME),
        'note': Text(LONGEST_NOTE),
    },
}


@dataclass(frozen=True)
class Hold:
    """The keys that are down."""

    keys: tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """The page shows the view of this number."""

    seq: int


@dataclass(frozen=True)
class Ask:
    """Something the page wants done; `fields` holds every field of its entry in ASKS."""

    id: int
    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)


Message = Hold | Seen | Ask


def read_message(text: str) -> Message | None:
    """A message of the page; None for anything that is not exactly one."""
    if len(text) > LONGEST_MESSAGE:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    if data.get('type') == 'hold':
        return _read_hold(data.get('keys'))
    if data.get('type') == 'seen':
        seq = Whole(0, 2**53).read(data.get('seq'))
        return None if seq is None else Seen(seq)
    if data.get('type') == 'ask':
        return _read_ask(data)
    return None


def _read_hold(keys: object) -> Hold | None:
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        return None
    if not all(isinstance(key, str) and len(key) <= LONGEST_NAME for key in keys):
        return None
    return Hold(tuple(keys))


def _read_ask(data: Mapping[str, Any]) -> Ask | None:
    number = Whole(0, 2**53).read(data.get('id'))
    name = data.get('name')
    if number is None or not isinstance(name, str) or name not in ASKS:
        return None
    fields = ASKS[name]
    if not data.keys() <= {'type', 'id', 'name', *fields}:
        return None
    values = {key: kind.read(data.get(key, kind.default)) for key, kind in fields.items()}
    return None if None in values.values() else Ask(number, name, values)


def encode_frame(frame: NDArray[np.uint8]) -> bytes:
    """An RGB frame (H, W, 3) for the page: PNG, or JPEG where PNG would take too long."""
    height, width = frame.shape[:2]
    pixels = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGR)
    if height * width <= LOSSLESS_PIXELS:
        done, data = cv2.imencode('.png', pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    else:
        done, data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError(f'OpenCV could not encode a frame of {width}x{height}')
    return data.tobytes()


def pack_view(view: Mapping[str, Any], image: bytes) -> bytes:
    """A view as it travels."""
    text = json.dumps(view, separators=(',', ':'), allow_nan=False).encode()
    return struct.pack('<I', len(text)) + text + image


def unpack_view(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The inverse of `pack_view`."""
    (length,) = struct.unpack_from('<I', data)
    return json.loads(data[4 : 4 + length]), data[4 + length :]
