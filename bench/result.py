# SPDX-License-Identifier: Apache-2.0
"""What every measurement shares: percentiles, bars, the machine, and one whole JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import json
import math
import os
from pathlib import Path
import platform
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Bar:
    """A figure and what it must reach.

    Attributes:
        name: What is measured.
        value: In `unit`.
        limit: The value must lie below it, or reach it where `at_least`.
        unit: Of both.
        at_least: Whether more is better.
    """

    name: str
    value: float
    limit: float
    unit: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the bar is reached; never by a value that is not finite."""
        if not math.isfinite(self.value):
            return False
        return self.value >= self.limit if self.at_least else self.value < self.limit

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return {**asdict(self), 'value': round(self.value, 4), 'holds': self.holds}

    def __str__(self) -> str:
        sign = '>=' if self.at_least else '<'
        return (
            f'{"PASS" if self.holds else "MISS"}  {self.name:<52}'
            f'{self.value:>9.4g} {self.unit:<4} bar {sign} {self.limit:g}'
        )


def percentiles(seconds: ArrayLike) -> dict[str, float]:
    """p50, p99 and the worst of durations in seconds, in milliseconds."""
    values = np.asarray(seconds, dtype=np.float64) * 1e3
    middle, high = np.percentile(values, (50, 99))
    return {
        'p50': round(float(middle), 3),
        'p99': round(float(high), 3),
        'max': round(float(values.max()), 3),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was a moment ago."""
    model = platform.processor() or platform.machine()
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                model = line.partition(':')[2].strip()
                break
    return {
        'cpu': model,
        'cores': os.cpu_count(),
        'machine': platform.machine(),
        'python': platform.python_version(),
        'load_average': [round(value, 2) for value in os.getloadavg()],
    }


def print_bars(bars: Sequence[Bar]) -> None:
    """One line each."""
    for bar in bars:
        print(bar)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Replace a result in one go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix('.tmp')
    temporary.write_text(json.dumps(result, indent=2) + '\n')
    temporary.replace(path)
