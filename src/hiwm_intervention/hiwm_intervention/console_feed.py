# SPDX-License-Identifier: Apache-2.0
"""The rollout tree as pages get it: each page only what it does not know yet.

`TreeView.take_news` says what changed; the feed keeps all of it in one list of rows, and a page's
cursor is how far into that list it has been told. A new page begins at 0, is told the whole tree in
a few large messages, and from then on a row for each step.

What a page gets is
  {"generation": 0, "key": "…", "fresh": true, "nodes": [[node, parent, step, branch's number,
   source], ...], "lanes": [{"number", "name", "root", "fork", "head", "label", "note", "seed"},
   ...], "checkpoints": {name: node, ...} or absent, "more": false}
`fresh` says that what it knew before holds no more, `more` that another part follows: the page has
not been told all that the console knows, or the console not all that the rig has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hiwm_core.run_table import RunTable

MOST_ROWS = 2000  # in one message: about 70 kB


@dataclass
class Cursor:
    """How far a page has been told."""

    generation: int = -1
    rows: int = 0
    lanes: dict[int, int] = field(default_factory=dict)  # number -> version told
    checkpoints: int = 0
    whole: bool = False


class TreeFeed:
    """All that the pages may have to be told.

    Args:
        key: Names this server's run in the addresses of frames, so that a browser's cache never
            shows another run's.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._begin(-1)

    def _begin(self, generation: int) -> None:
        self._generation = generation
        self._rows = RunTable((1, 1, 1, 0, 0))
        self._lanes: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self._checkpoints: tuple[int, Mapping[str, int]] = (0, {})
        self._version = 0
        self._whole = False

    @property
    def key(self) -> str:
        """Names the present tree in the addresses of frames."""
        return f'{self._key}.{self._generation}'

    def take(self, news: Mapping[str, Any]) -> None:
        """What `TreeView.take_news` returned."""
        if news['generation'] != self._generation:
            self._begin(news['generation'])
        self._version += 1
        self._whole = news['whole']
        for row in news['nodes']:
            self._rows.append(row)
        for lane in news['lanes']:
            self._lanes[lane['number']] = (self._version, lane)
        if news['checkpoints'] is not None:
            self._checkpoints = (self._version, news['checkpoints'])

    def has_news(self, cursor: Cursor) -> bool:
        """Whether a page has something to be told."""
        return (
            cursor.generation != self._generation
            or cursor.rows < len(self._rows)
            or cursor.whole != self._whole
            or cursor.checkpoints < self._checkpoints[0]
            or any(version > cursor.lanes.get(n, 0) for n, (version, _) in self._lanes.items())
        )

    def tell(self, cursor: Cursor) -> dict[str, Any]:
        """The next part for a page, whose cursor moves on."""
        fresh = cursor.generation != self._generation
        if fresh:
            cursor.generation = self._generation
            cursor.rows = cursor.checkpoints = 0
            cursor.lanes.clear()
        cursor.whole = self._whole
        end = min(cursor.rows + MOST_ROWS, len(self._rows))
        rows = [self._rows[row] for row in range(cursor.rows, end)]
        cursor.rows = end
        lanes = []
        for number, (version, lane) in self._lanes.items():
            if version > cursor.lanes.get(number, 0):
                cursor.lanes[number] = version
                lanes.append(lane)
        told: dict[str, Any] = {
            'generation': self._generation,
            'key': self.key,
            'fresh': fresh,
            'nodes': rows,
            'lanes': lanes,
            'more': cursor.rows < len(self._rows) or not self._whole,
        }
        if cursor.checkpoints < self._checkpoints[0]:
            cursor.checkpoints = self._checkpoints[0]
            told['checkpoints'] = dict(self._checkpoints[1])
        return told
