# SPDX-License-Identifier: Apache-2.0
"""A leader's calibration as a picture: what each pose leaves unexplained in each joint."""

from __future__ import annotations

from collections.abc import Sequence
import io
import math
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')
from matplotlib import pyplot
import numpy as np

from hiwm_core.whole_file import write_whole
from hiwm_robot.calibration.leader_fit import JointFit, worst_of


def draw_leader(path: Path, name: str, fits: Sequence[JointFit]) -> None:
    """Write the picture.

    Args:
        path: Replaced if it exists.
        name: Of the leader.

    Raises:
        HiwmError: STORAGE_FAULT.
    """
    figure, axis = pyplot.subplots(figsize=(1.6 + 1.4 * len(fits), 3.8), layout='constrained')
    poses = len(fits[0].residuals)
    colours = mpl.colormaps['viridis'](np.linspace(0.0, 0.9, poses))
    width = 0.8 / poses
    for pose in range(poses):
        at = np.arange(len(fits)) + (pose - (poses - 1) / 2) * width
        heights = [math.degrees(fit.residuals[pose]) for fit in fits]
        axis.bar(at, heights, 0.9 * width, color=colours[pose], label=f'pose {pose + 1}')
    axis.axhline(0.0, color='black', linewidth=0.8)
    axis.set_xticks(range(len(fits)), [_label(fit) for fit in fits], fontsize=8)
    axis.set_ylabel('leader less follower, degrees')
    worst = worst_of(fits)
    axis.set_title(
        f"leader '{name}', {poses} poses; largest error {math.degrees(worst.error):.2f} degrees "
        f'({worst.name})',
        fontsize=10,
    )
    axis.legend(fontsize=7, ncols=min(poses, 4))
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format='png')
    pyplot.close(figure)
    write_whole(path, buffer.getvalue())


def _label(fit: JointFit) -> str:
    sign = '+' if fit.direction > 0 else '-'
    return (
        f'{fit.name}\n{sign}, {fit.offset:.3f} rad\nerror {math.degrees(fit.error):.2f}\n'
        f'held out {math.degrees(fit.held_out):.2f}'
    )
