# SPDX-License-Identifier: Apache-2.0
"""The servos of a bus as a picture: who is there, and what share of questions each answers."""

from __future__ import annotations

from collections.abc import Sequence
import io
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')
from matplotlib import pyplot

from hiwm_core.whole_file import write_whole
from hiwm_robot.calibration.servo_scan import FoundServo


def draw_servos(path: Path, port: str, servos: Sequence[FoundServo]) -> None:
    """Write the picture; it replaces one that is there. Raises HiwmError (STORAGE_FAULT)."""
    figure, axis = pyplot.subplots(
        figsize=(7.0, 1.4 + 0.45 * max(len(servos), 1)), layout='constrained'
    )
    places = range(len(servos))
    axis.barh(
        places,
        [100.0 * servo.answered for servo in servos],
        color=['#b3192b' if servo.shared else '#2f74b5' for servo in servos],
    )
    axis.set_yticks(places, [servo.words for servo in servos], fontsize=8)
    for place, servo in zip(places, servos, strict=True):
        state = f'{servo.voltage:.1f} V, {servo.temperature:.0f} degC'
        if servo.shared:
            state = 'shared by several servos'
        # Where the bar is too short to be written on, it stands beside it.
        inside = servo.answered > 0.5
        axis.text(
            2.0 if inside else 100.0 * servo.answered + 2.0,
            place,
            state,
            va='center',
            color='white' if inside else '#b3192b',
            fontsize=8,
        )
    axis.set_xlim(0.0, 100.0)
    axis.invert_yaxis()
    axis.set_xlabel('questions answered, %')
    axis.set_title(f'ids that answer on {port}', fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format='png')
    pyplot.close(figure)
    write_whole(path, buffer.getvalue())
