# SPDX-License-Identifier: Apache-2.0
"""A camera's calibration in words and in figures."""

from __future__ import annotations

import math

from hiwm_robot.calibration.lens_fit import LensFit
from hiwm_robot.calibration.table_fit import TableFit
from hiwm_robot.camera.adapter_file import AdapterConfig


def words_of(lens: LensFit | None, table: TableFit | None, outside: float) -> list[str]:
    """Lines for a person; `outside` is the share of the task's frame that is not in sight."""
    words = []
    if lens is not None:
        words.append(
            f'Lens: {len(lens.sightings)} pictures, error {lens.error:.3f} px, on pictures held '
            f'out {lens.held_out_error:.3f} px; corners in {lens.coverage:.0%} of the picture; '
            f'focal length {lens.lens.fx:.1f} +- {lens.deviation[0]:.1f} px'
        )
        if lens.left_out:
            words.append(f'Left out, for they do not fit: {", ".join(lens.left_out)}')
    if table is not None:
        words.append(
            f'Table: error {table.error:.3f} px, {table.table_error * 1e3:.2f} mm on the table; '
            f'seen {math.degrees(table.tilt):.0f} degrees from straight above'
        )
    words.append(f"{outside:.1%} of the task's frame are not in sight")
    return words


def figures_of(
    config: AdapterConfig,
    lens: LensFit | None,
    table: TableFit | None,
    outside: float,
) -> dict[str, object]:
    """The same for a program; px, m and rad."""
    assert config.lens is not None
    figures: dict[str, object] = {
        'camera': config.name,
        'width': config.width,
        'height': config.height,
        'outside': outside,
        'fx': config.lens.fx,
        'fy': config.lens.fy,
        'cx': config.lens.cx,
        'cy': config.lens.cy,
        'distortion': list(config.lens.distortion),
    }
    if lens is not None:
        figures |= {
            'pictures': len(lens.sightings),
            'left_out': list(lens.left_out),
            'error_px': lens.error,
            'held_out_error_px': lens.held_out_error,
            'deviation_px': list(lens.deviation),
            'coverage': lens.coverage,
        }
    if table is not None:
        figures |= {
            'table_error_px': table.error,
            'table_error_m': table.table_error,
            'tilt_rad': table.tilt,
            'rotation': list(table.pose.rotation),
            'translation_m': list(table.pose.translation),
        }
    return figures
