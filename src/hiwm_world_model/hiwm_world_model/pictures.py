# SPDX-License-Identifier: Apache-2.0
"""Pictures of a model's work for a person: strips of frames, and curves of drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

GAP = 4
ZOOM = 2


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
    curves: Mapping[str, Mapping[str, NDArray[np.float64]]],
    units: Mapping[str, str],
) -> None:
    """Write curves over steps as a PNG.

    Args:
        path: The picture.
        curves: For each measure, for each kind of data, values (episodes, steps), NaN where ended.
        units: The axis label of each measure.
    """
    import matplotlib  # noqa: PLC0415  slow to import, and only evaluation draws

    matplotlib.use('Agg')
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(1, len(curves), figsize=(4.5 * len(curves), 3.6))
    for axis, (measure, kinds) in zip(np.atleast_1d(axes), curves.items(), strict=True):
        for kind, values in kinds.items():
            with np.errstate(all='ignore'):
                steps = np.flatnonzero(np.isfinite(values).any(0))
                middle = np.nanmedian(values[:, steps], axis=0)
                line = axis.plot(steps, middle, label=f'{kind} ({len(values)})')[0]
                if kind == 'all':
                    # Of decibels the low ones are the bad ones.
                    share = 10 if units[measure] == 'dB' else 90
                    worst = np.nanpercentile(values[:, steps], share, axis=0)
                    axis.plot(steps, worst, ':', color=line.get_color(), label='all, worst 10 %')
        axis.set_title(measure)
        axis.set_xlabel('step')
        axis.set_ylabel(units[measure])
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
