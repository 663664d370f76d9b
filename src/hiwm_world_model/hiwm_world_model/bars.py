# SPDX-License-Identifier: Apache-2.0
"""What a world model must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A limit for one figure.

    Attributes:
        measure: The figure's entry in the results.
        entry: The path within that entry.
        limit: What it is compared with.
        above: Whether it must be above the limit, and not below.
        unit: For a person.
        each_kind: Whether it is split by kind of data.
    """

    measure: str
    entry: tuple[str, ...]
    limit: float
    above: bool
    unit: str
    each_kind: bool = True

    @property
    def name(self) -> str:
        """What it is called in the results."""
        return '_'.join((self.measure, *(part for part in self.entry if part != 'p50')))

    def met(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value > self.limit if self.above else value < self.limit


def _error(measure: str, step: int, limit: float, unit: str) -> Bar:
    return Bar(measure, (str(step), 'p50'), limit, False, unit)


def _share(measure: str, limit: float) -> Bar:
    return Bar(measure, (), limit, True, '', each_kind=False)


BARS = (
    _error('agent_px', 20, 1.5, 'px'),
    _error('agent_px', 100, 3.0, 'px'),
    _error('t_px', 20, 3.0, 'px'),
    _error('t_px', 100, 8.0, 'px'),
    _error('t_deg', 20, 5.0, 'deg'),
    _error('t_deg', 100, 15.0, 'deg'),
    Bar('psnr_db', ('20', 'p50'), 27.0, True, 'dB'),
    Bar('psnr_db', ('100', 'p50'), 23.0, True, 'dB'),
    Bar('psnr_db', ('200', 'p50'), 20.0, True, 'dB'),
    _share('action_following', 0.99),
    _share('stable_600', 0.95),
    # Nine frames of ten, because no reader is right about every frame.
    Bar('heads_px', ('p90',), 2.0, False, 'px'),
    Bar('heads_deg', ('p90',), 5.0, False, 'deg'),
    Bar('fidelity_auroc', (), 0.8, True, ''),
)


def judge(figures: Mapping[str, Any], *, one_kind: bool) -> dict[str, dict[str, Any]]:
    """Each bar's `value`, `limit`, `must_be` and `ok`; `ok` is null where nothing was measured.

    Args:
        figures: The measures of one kind of data, or of all.
        one_kind: Leave out what is not split by kind.
    """
    verdicts = {}
    for bar in BARS:
        if one_kind and not bar.each_kind:
            continue
        value: Any = figures.get(bar.measure)
        for part in bar.entry:
            value = value.get(part) if isinstance(value, Mapping) else None
        verdicts[bar.name] = {
            'value': value,
            'limit': bar.limit,
            'must_be': 'above' if bar.above else 'below',
            'ok': None if value is None else bar.met(value),
        }
    return verdicts


def bars_table(verdicts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Every bar in a line, every kind in a column; a miss is marked by an exclamation mark."""
    kinds = list(verdicts)
    lines = [' ' * 28 + ''.join(f'{kind:>11s}' for kind in kinds)]
    for bar in BARS:
        sign = '>' if bar.above else '<'
        cells = []
        for kind in kinds:
            verdict = verdicts[kind].get(bar.name)
            if verdict is None or verdict['value'] is None:
                cells.append(f'{"-":>10s} ')
            else:
                cells.append(f'{verdict["value"]:10.3f}{" " if verdict["ok"] else "!"}')
        lines.append(f'{bar.name:18s} {sign} {bar.limit:<4g} {bar.unit:3s}' + ''.join(cells))
    return '\n'.join(lines)
