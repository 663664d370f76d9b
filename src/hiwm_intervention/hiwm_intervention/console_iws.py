# SPDX-License-Identifier: Apache-2.0
"""The wire protocol of the Interactive World Simulator, so that its pages drive this world model.

After the public demo (github.com/WangYixuan12/interactive_world_sim; field names as in the server
and page of its local demo). A page sends JSON texts:
  {"type": "init", "task": "pusht"}       begin; also sent after every connection
  {"type": "set_task", "task": "pusht"}   begin anew
  {"type": "action", "action": {"w": 0, "a": 1, ...}, "t_client": 8123.4}
      the keys of a keyboard, each 0 or 1; it holds until the next one. `type` may be left out.
The server answers with binary messages, one for each new frame:
  8 bytes   float64, big endian: `t_client` of an action that this frame is the first to answer;
            0 where it answers none
  the rest  the frame, PNG or JPEG
and, where the original says nothing, with {"type": "error", "message": "..."} as text.

What differs: keys move what the task's `console.keys` say; `init` and `set_task` begin a new run
from a random start and take the wheel for this page; there is one task, and another one's name is
an error. Such a page repeats nothing while a key is held, so that its silence says nothing: it may
drive only where nothing real can move.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import struct

from hiwm_intervention.console_protocol import MOST_FRACTION, Real, Text, read_object, read_shares

LONGEST_TASK = 64
KEYS = frozenset('wasdqeijkluogh')


@dataclass(frozen=True)
class Begin:
    """`init` or `set_task`."""

    task: str


@dataclass(frozen=True)
class Keys:
    """The keys that are down, and the page's clock."""

    keys: Mapping[str, float]
    at: float


def read_iws(text: str) -> Begin | Keys | None:
    """A message of such a page; None for anything else."""
    data = read_object(text)
    if data is None:
        return None
    kind = data.get('type', 'action')
    if kind in ('init', 'set_task'):
        task = Text(LONGEST_TASK, None).read(data.get('task'))
        return None if task is None else Begin(task)
    if kind != 'action':
        return None
    shares = read_shares(data.get('action'))
    at = Real(0.0, MOST_FRACTION).read(data.get('t_client', 0.0))
    if shares is None or at is None or not shares.keys() <= KEYS:
        return None
    return Keys(shares, at)


def pack_iws(at: float, image: bytes) -> bytes:
    """A frame as it travels."""
    return struct.pack('>d', at) + image
