# SPDX-License-Identifier: Apache-2.0
"""Pictures of a model's work for a person: strips of frames, and curves of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

GAP = 4
ZOOM = 2
# Errors span orders of magnitude; what is smaller is drawn here.
SMALLEST_ERROR = 0.01

Curves = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Limit:
    """What a median must not pass at a step."""

    step: int
    value: float


def save_strip(path: Path, rows: Sequence[NDArray[np.uint8]]) -> None:
    """Write rows of frames, each uint8 (N, H, W, 3) RGB, one row below the other, as a PNG."""
    bands = []
    for frames in rows:
        padded = np.pad(frames, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=128)
        bands.append(np.concatenate(list(padded), axis=1))
    picture = np.concatenate(bands, axis=0)
    size = (picture.shape[1] * ZOOM, picture.shape[0] * ZOOM)
    enlarged = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    done, data = cv2.imencode('.png', cv2.cvtColor(enlarged, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f'{path} could not be encoded as PNG')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def save_drift(
    path: Path,
    curves: Mapping[str, Curves],
    units: Mapping[str, str],
    limits: Mapping[str, Sequence[Limit]],
    baselines: Mapping[str, Mapping[str, Curves]],
) -> None:
    """Write curves over steps as a PNG: a row for each measure, a column for each kind of data.

    A line is the median of the episodes, the band around it goes from the 10th to the 90th
    percentile, and a red mark is a limit for the median.

    Args:
        path: The picture.
        curves: For each measure, for each kind, values (episodes, steps); NaN where there is none.
        units: The axis label of each measure; errors, which are all but 'dB', on a log scale.
        limits: For each measure.
        baselines: For each measure by name, what else is drawn, for each kind.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  slow to import; only evaluation draws

    kinds = list(next(iter(curves.values())))
    figure = Figure(figsize=(3.4 * len(kinds), 2.6 * len(curves)))
    axes = figure.subplots(len(curves), len(kinds), squeeze=False, sharex='col', sharey='row')
    for row, (measure, by_kind) in zip(axes, curves.items(), strict=True):
        logarithmic = units[measure] != 'dB'
        for axis, (kind, values) in zip(row, by_kind.items(), strict=True):
            _plot(axis, values, measure, band=True, logarithmic=logarithmic)
            for name, other in baselines.get(measure, {}).items():
                _plot(axis, other[kind], name, band=False, logarithmic=logarithmic)
            for limit in limits.get(measure, ()):
                if limit.step < values.shape[1]:
                    axis.plot(limit.step, limit.value, marker='_', ms=14, mew=2.5, color='tab:red')
            if logarithmic:
                axis.set_yscale('log')
            axis.grid(alpha=0.3)
        row[0].set_ylabel(f'{measure}, {units[measure]}')
        if measure in baselines:
            row[0].legend(fontsize=7)
    for axis, (kind, values) in zip(axes[0], next(iter(curves.values())).items(), strict=True):
        axis.set_title(f'{kind} ({len(values)})')
    for axis in axes[-1]:
        axis.set_xlabel('step')
    figure.suptitle('median, band from p10 to p90, red: the bar for the median', fontsize=9)
    # Half of the time of tight_layout, which draws everything once more.
    figure.subplots_adjust(0.05, 0.06, 0.99, 0.91, wspace=0.08, hspace=0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.part')
    figure.savefig(part, dpi=110, format='png')
    part.replace(path)


def _plot(
    axis: Any, values: NDArray[np.float64], label: str, *, band: bool, logarithmic: bool
) -> None:
    steps = np.flatnonzero(np.isfinite(values).any(0))
    if not len(steps):
        return
    low, middle, high = np.nanpercentile(values[:, steps], [10, 50, 90], axis=0)
    if logarithmic:
        low, middle, high = (np.maximum(line, SMALLEST_ERROR) for line in (low, middle, high))
    line = axis.plot(steps, middle, label=label)[0]
    if band:
        axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
