# SPDX-License-Identifier: Apache-2.0
"""A camera's calibration as a picture: what does not fit, where the board was, what comes out."""

from __future__ import annotations

import io
import math
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')
from matplotlib import pyplot
from matplotlib.axes import Axes
import numpy as np
from numpy.typing import NDArray

from hiwm_core.task_parts import Camera
from hiwm_core.whole_file import write_whole
from hiwm_robot.calibration.lens_fit import LensFit
from hiwm_robot.calibration.table_fit import TableFit
from hiwm_robot.camera.adapter_file import AdapterConfig
from hiwm_robot.camera.frame_mapping import FrameMapping

ByteArray = NDArray[np.uint8]

# px, how long the median residual is drawn.
DRAWN = 12.0


def draw_calibration(
    path: Path,
    config: AdapterConfig,
    frame: Camera,
    lens: LensFit | None,
    table: TableFit | None,
    *,
    picture: ByteArray | None,
) -> None:
    """Write the picture.

    Args:
        path: Replaced if it exists.
        config: The file that was written.
        frame: The task's camera.
        lens: None: the lens was known before.
        table: None: there is none.
        picture: uint8 (h, w, 3), of the board on the table; None: there is none.

    Raises:
        HiwmError: STORAGE_FAULT.
    """
    panels = [lens is not None, table is not None and picture is not None, picture is not None]
    figure, axes = pyplot.subplots(
        1, sum(panels), figsize=(5.2 * sum(panels), 4.6), squeeze=False, layout='constrained'
    )
    left = iter(axes[0])
    if lens is not None:
        _draw_lens(next(left), config, lens)
    if table is not None and picture is not None:
        _draw_table(next(left), config, frame, table, picture)
    if picture is not None and config.lens is not None:
        _draw_frame(next(left), config, frame, picture)
    figure.suptitle(f"camera '{config.name}', {config.width}x{config.height}", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100, format='png')
    pyplot.close(figure)
    write_whole(path, buffer.getvalue())


def _draw_lens(axis: Axes, config: AdapterConfig, fit: LensFit) -> None:
    pixels = np.concatenate([one.pixels for one in fit.sightings])
    residuals = np.concatenate(fit.residuals)
    length = np.linalg.norm(residuals, axis=-1)
    times = DRAWN / max(float(np.median(length)), 1e-6)
    axis.quiver(
        pixels[:, 0],
        pixels[:, 1],
        times * residuals[:, 0],
        times * residuals[:, 1],
        length,
        angles='xy',
        scale_units='xy',
        scale=1.0,
        width=0.003,
        cmap='viridis',
    )
    _as_picture(axis, config.width, config.height)
    axis.set_title(
        f'lens: {fit.error:.2f} px, on pictures held out {fit.held_out_error:.2f} px\n'
        f'{len(fit.sightings)} pictures; arrows {times:.0f} times as long',
        fontsize=9,
    )


def _draw_table(
    axis: Axes, config: AdapterConfig, frame: Camera, fit: TableFit, picture: ByteArray
) -> None:
    assert config.lens is not None and config.table is not None
    axis.imshow(picture)
    rotation, translation = np.array(config.table.rotation), np.array(config.table.translation)
    wide, high = (each * frame.metres_per_pixel for each in (frame.width, frame.height))
    corners = np.array([[0, 0, 0], [wide, 0, 0], [wide, high, 0], [0, high, 0], [0, 0, 0]], float)
    # A straight edge of the table is a curve in the picture.
    edge = np.concatenate([np.linspace(corners[side], corners[side + 1], 30) for side in range(4)])
    axis.plot(*config.lens.project(edge, rotation, translation).T, color='#ffd54a', linewidth=2)
    reach = 0.15 * wide
    axes = np.array([[0, 0, 0], [reach, 0, 0], [0, reach, 0]], float)
    origin, *ends = config.lens.project(axes, rotation, translation)
    for end, name in zip(ends, ('x', 'y'), strict=True):
        axis.annotate('', end, origin, arrowprops={'color': '#ff5252', 'width': 2, 'headwidth': 8})
        across, down = end + (end - origin) * 0.15
        axis.text(across, down, name, color='#ff5252', weight='bold')
    seen = fit.sighting.pixels
    axis.scatter(seen[:, 0], seen[:, 1], s=10, color='#00e5ff')
    _as_picture(axis, config.width, config.height)
    axis.set_title(
        f'table: {fit.error:.2f} px, {fit.table_error * 1e3:.2f} mm on it\n'
        f'seen {math.degrees(fit.tilt):.0f} degrees from straight above; yellow: the workspace',
        fontsize=9,
    )


def _draw_frame(axis: Axes, config: AdapterConfig, frame: Camera, picture: ByteArray) -> None:
    assert config.lens is not None
    shown = np.zeros((frame.height, frame.width, 3), np.uint8)
    mapping = FrameMapping(config, config.lens, frame)
    mapping.apply(picture, 'rgb8', shown)
    axis.imshow(shown, interpolation='nearest')
    axis.set_title(
        f"the task's frame, {frame.width}x{frame.height}\n"
        f'{1.0 - mapping.outside:.0%} of it in sight',
        fontsize=9,
    )


def _as_picture(axis: Axes, width: int, height: int) -> None:
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)
    axis.set_aspect('equal')
    axis.set_xlabel('px')
