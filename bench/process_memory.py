# SPDX-License-Identifier: Apache-2.0
"""Resident memory of processes over time, and how much of it is growth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
import time
from typing import Any

import numpy as np

MEGABYTE = 1e6
# Levels are medians over this share of the whole time, so that a moment's peak is no growth.
WINDOW = 0.05
KINDS = {'VmRSS': 'resident', 'RssAnon': 'own', 'RssShmem': 'shared'}


def read_memory(pid: int) -> dict[str, int] | None:
    """Bytes of a process by kind: `resident` in all, `own` (not of files), `shared`; None: gone."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    pairs = (line.split(':', maxsplit=1) for line in lines)
    found = {KINDS[name]: int(text.split()[0]) * 1024 for name, text in pairs if name in KINDS}
    return found or None


@dataclass
class MemoryLog:
    """Samples of several processes, each with the number of nodes that the tree had then.

    Attributes:
        times: s since the first of them.
        nodes: Of the rollout tree.
        bytes: By process and kind, one value for each sample; NaN while there was no process.
    """

    times: list[float] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    bytes: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    _began: float = 0.0

    def sample(self, processes: Mapping[str, int], nodes: int) -> None:
        """Look at all processes, given by name and process id, once."""
        at = time.monotonic()
        if not self.times:
            self._began = at
        self.times.append(at - self._began)
        self.nodes.append(nodes)
        for name, pid in processes.items():
            known = self.bytes.setdefault(name, {kind: [] for kind in KINDS.values()})
            now = read_memory(pid)
            for kind, values in known.items():
                values.append(np.nan if now is None else now.get(kind, 0))

    def level(self, name: str, kind: str, share: float) -> float:
        """Bytes of a process over the `WINDOW` that ends at a share of the time."""
        return float(np.nanmedian(self._window(self.bytes[name][kind], share)))

    def nodes_at(self, share: float) -> float:
        """Nodes of the tree over the same window."""
        return float(np.median(self._window(self.nodes, share)))

    def _window(self, values: Iterable[float], share: float) -> np.ndarray:
        times = np.array(self.times)
        end = share * times[-1]
        inside = (times >= end - WINDOW * times[-1]) & (times <= end)
        return np.array(list(values), np.float64)[inside]


def growth(log: MemoryLog, node_bytes: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What each process gained in the second half.

    Args:
        log: The samples.
        node_bytes: What a node of the tree costs in a process, by its name; else nothing.

    Returns:
        By process: levels in MB, growth in percent of the level at half time, and the same without
        what the new nodes of the tree cost.
    """
    nodes = log.nodes_at(1.0) - log.nodes_at(0.5)
    result = {}
    for name in log.bytes:
        half, end = (log.level(name, 'resident', share) for share in (0.5, 1.0))
        tree = nodes * node_bytes.get(name, 0.0)
        result[name] = {
            'first_mb': round(log.level(name, 'resident', WINDOW) / MEGABYTE, 2),
            'half_mb': round(half / MEGABYTE, 2),
            'end_mb': round(end / MEGABYTE, 2),
            'own_growth_mb': round(
                (log.level(name, 'own', 1.0) - log.level(name, 'own', 0.5)) / MEGABYTE, 3
            ),
            'shared_growth_mb': round(
                (log.level(name, 'shared', 1.0) - log.level(name, 'shared', 0.5)) / MEGABYTE, 3
            ),
            'tree_mb': round(tree / MEGABYTE, 3),
            'growth_percent': round(100.0 * (end - half) / half, 3),
            'growth_beside_tree_percent': round(100.0 * (end - half - tree) / half, 3),
        }
    return result


def draw_memory(path: Path, log: MemoryLog, title: str) -> None:
    """A picture: the resident memory of each process, and the tree's nodes, over time."""
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import; only the end draws

    figure = Figure(figsize=(9, 6))
    top, bottom = figure.subplots(2, 1, sharex=True)
    minutes = np.array(log.times) / 60.0
    for name, kinds in sorted(log.bytes.items(), key=lambda item: -item[1]['resident'][-1]):
        values = np.array(kinds['resident']) / MEGABYTE
        line = top.plot(minutes, values, label=name)[0]
        middle = log.level(name, 'resident', 0.5) / MEGABYTE
        bottom.plot(minutes, 100.0 * (values / middle - 1.0), color=line.get_color(), label=name)
    top.set_ylabel('resident memory, MB')
    top.set_ylim(bottom=0)
    bottom.set_ylabel('% of the level at half time')
    bottom.set_ylim(-10, 10)
    bottom.axhspan(-2, 2, color='tab:green', alpha=0.12)
    bottom.axvline(minutes[-1] / 2, color='grey', linewidth=0.8)
    bottom.set_xlabel('minutes')
    beside = top.twinx()
    beside.plot(minutes, log.nodes, color='black', linestyle=':', label='nodes of the tree')
    beside.set_ylabel('nodes of the tree')
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
    top.legend(fontsize=8, loc='center left')
    top.set_title(title)
    figure.tight_layout()
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    figure.savefig(part, dpi=110, format='png')
    part.replace(path)
