# SPDX-License-Identifier: Apache-2.0
"""What the page and the server say to each other over the WebSocket.

The page sends JSON texts:
  {"type": "hold", "at": 8123.4, "device": "browser", "keys": {"d": 1}, "deadman": true}
      What a person does now, 20 times a second while the page drives and on every change. `at` is
      the page's clock in milliseconds. Keys have a share of their speed (a stick's, 0 to 1). A drag
      on the picture adds "drag": [u0, v0, u1, v1], from where to where, in shares of the picture.
  {"type": "ask", "id": 7, "name": "rollback", "steps": 10}     one of ASKS, answered by a reply
  {"type": "seen", "seq": 12}                                   that view is on the screen
The server sends JSON texts:
  {"type": "hello", "page": "...", "task": {...}, ...}          once, first
  {"type": "reply", "id": 7, "ok": true, "text": "..."}
and views as binary: four bytes, little endian, the length of a JSON text; the text; then the newest
frame as PNG or JPEG, or nothing if the frame did not change. A view carries its number as "seq";
"stamp", the frame's time stamp in nanoseconds as a text; "tree", what the page does not know yet of
the rollout tree (`console_feed`); and "answered", [[stamp, [at, ...]], ...]: which of the page's
own inputs the frame of that stamp is the first to answer. A page that falls behind gets the newest
view next and never a backlog.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import math
import struct
from typing import Any
import unicodedata

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST_MESSAGE = 4096
LONGEST_NAME = 64
LONGEST_NOTE = 500
MOST_KEYS = 32
MOST_FRACTION = 1e15  # of a page's clock, ms
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
class Real:
    """A number of an ask."""

    low: float
    high: float
    default: float | None = None

    def read(self, value: object) -> float | None:
        """The value, or None if it is not one; NaN and infinity are none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return float(value) if self.low <= value <= self.high else None


SPACES = frozenset({'Zs', 'Zl', 'Zp', 'Cc'})  # Unicode's categories of what only parts words


def _kind(character: str) -> str:
    return unicodedata.category(character)


@dataclass(frozen=True)
class Text:
    """A text of an ask, stripped."""

    longest: int
    default: str | None = ''
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> str | None:
        """The value, or None if it is not one; each kind of space in it is a plain one."""
        if not isinstance(value, str) or len(value) > self.longest:
            return None
        text = ''.join(' ' if _kind(each) in SPACES else each for each in value)
        # Marks that only shape the text, as of Persian or of an emoji, count as printable too.
        if not all(each.isprintable() or _kind(each) == 'Cf' for each in text):
            return None
        return text.strip() if not self.choices or value in self.choices else None


LABELS = ('none', 'success', 'failure', 'discard')
NODE = Whole(1, 2**53)
HEAD = Whole(0, 2**53, default=0)  # a node, or 0: the head
SEED = Whole(0, 2**31 - 1)

# Every ask with its fields; a field without a default must be there.
ASKS: Mapping[str, Mapping[str, Whole | Real | Text]] = {
    'take_over': {},
    'release': {},
    'ask_wheel': {},
    'pause': {},
    'resume': {},
    'stop': {},
    'unlock': {},
    'step': {'count': Whole(1, 100, default=1)},
    'speed': {'speed': Real(0.25, 4.0)},
    'rollback': {'steps': Whole(1, 2**32 - 1)},
    'go_to': {'node': NODE},
    'branch': {'called': Text(LONGEST_NAME), 'node': HEAD},
    'resample': {},
    'checkpoint': {'called': Text(LONGEST_NAME), 'node': HEAD},
    'reset': {'seed': Whole(-1, 2**31 - 1, default=-1)},
    'ready': {},
    'cancel_start': {},
    'remember_start': {'seed': SEED, 'note': Text(LONGEST_NAME)},
    'forget_start': {'seed': SEED},
    'label': {
        'label': Text(LONGEST_NAME, default=None, choices=LABELS),
        'branch': Text(LONGEST_NAME),
        'note': Text(LONGEST_NOTE),
    },
}

DEVICES = ('browser', 'mouse', 'gamepad')


@dataclass(frozen=True)
class Hold:
    """What a person does now.

    Attributes:
        keys: Share of its speed for each key that is down, or that a stick stands for.
        drag: From where to where the picture is dragged, (u0, v0, u1, v1) in shares of it; or None.
        device: What the person uses.
        deadman: Whether the device's dead-man is pressed.
        at: ms on the page's clock.
    """

    keys: Mapping[str, float] = field(default_factory=dict)
    drag: tuple[float, float, float, float] | None = None
    device: str = DEVICES[0]
    deadman: bool = True
    at: float = 0.0


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
    data = read_object(text)
    if data is None:
        return None
    if data.get('type') == 'hold':
        return _read_hold(data)
    if data.get('type') == 'seen':
        seq = Whole(0, 2**53).read(data.get('seq'))
        return None if seq is None else Seen(seq)
    if data.get('type') == 'ask':
        return _read_ask(data)
    return None


def unread_ask(text: str) -> tuple[int, str, str] | None:
    """Number and name of an ask that cannot be done as it is, and a sentence why; else None."""
    data = read_object(text)
    if data is None or data.get('type') != 'ask' or read_message(text) is not None:
        return None
    number, name = Whole(0, 2**53).read(data.get('id')), data.get('name')
    if number is None or not isinstance(name, str) or len(name) > LONGEST_NAME:
        return None
    if name not in ASKS:
        # A page may be of another version than a console that was started again.
        return number, name, f"the console does not know '{name}'; load the page again"
    why = f"'{name}' was not done: one of its values is too long, or cannot be read"
    return number, name, why


def read_object(text: str) -> dict[str, Any] | None:
    """A JSON object that is not too long, or None."""
    if len(text) > LONGEST_MESSAGE:
        return None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def read_shares(keys: object) -> dict[str, float] | None:
    """Shares of keys, those of 0 left out; None if it is something else."""
    if not isinstance(keys, dict) or len(keys) > MOST_KEYS:
        return None
    shares = {key: Real(0.0, 1.0).read(share) for key, share in keys.items()}
    if None in shares.values() or any(len(key) > LONGEST_NAME for key in shares):
        return None
    return {key: share for key, share in shares.items() if share}


def _read_hold(data: Mapping[str, Any]) -> Hold | None:
    if not data.keys() <= {'type', 'keys', 'drag', 'device', 'deadman', 'at'}:
        return None
    keys = read_shares(data.get('keys', {}))
    at = Real(0.0, MOST_FRACTION).read(data.get('at', 0.0))
    device, deadman = data.get('device', DEVICES[0]), data.get('deadman', True)
    if keys is None or at is None or device not in DEVICES or not isinstance(deadman, bool):
        return None
    drag = data.get('drag')
    if drag is None:
        return Hold(keys, None, device, deadman, at)
    if not isinstance(drag, list) or len(drag) != 4:
        return None
    # Beyond the picture's edge, but not beyond reason.
    shares = [Real(-10.0, 10.0).read(value) for value in drag]
    if None in shares:
        return None
    return Hold(keys, tuple(shares), device, deadman, at)  # type: ignore[arg-type]


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


def finite(value: float, digits: int = 4) -> float | None:
    """A number as JSON may hold it; None where it is unknown."""
    return round(value, digits) if math.isfinite(value) else None
