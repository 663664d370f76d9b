# SPDX-License-Identifier: Apache-2.0
"""The file that says how a camera's picture becomes the task's frame; `config/camera.yaml` has
every entry explained.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hiwm_core.entry import Entry
from hiwm_core.error import ConfigurationError
from hiwm_core.whole_file import write_whole
from hiwm_robot.camera.lens import Lens

LENS_COUNTS = (0, 4, 5, 8)
LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Crop:
    """A part of the picture in px from its top left corner."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class TablePose:
    """Where the table is: from the task's workspace (z = 0 on the table) to the camera.

    Attributes:
        rotation: (3,), Rodrigues vector, rad.
        translation: (3,), m.
    """

    rotation: tuple[float, float, float]
    translation: tuple[float, float, float]


@dataclass(frozen=True)
class AdapterConfig:
    """How a camera's picture becomes the task's frame.

    Attributes:
        name: What sentences call the camera.
        width: px, of the camera's pictures.
        height: px.
        lens: None: what the camera says of itself.
        undistort: Whether straight lines become straight; always so where `table` is given.
        crop: None: the largest part in the middle that has the frame's proportions.
        table: None: the picture is cropped; else the table is shown as from right above.
    """

    name: str
    width: int
    height: int
    lens: Lens | None = None
    undistort: bool = True
    crop: Crop | None = None
    table: TablePose | None = None


def read_adapter_file(path: Path) -> AdapterConfig:
    """Read and check a camera's file.

    Raises:
        ConfigurationError: It cannot be read or is not right; the sentence says where.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigurationError(
            f'the camera file {path} cannot be read: {error.strerror}'
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f'the camera file {path} is not YAML: {error}') from error
    file = Entry(data, str(path))
    size = file.entry('size')
    width, height = _side(size, 'width'), _side(size, 'height')
    size.finish()
    config = AdapterConfig(
        name=file.text('camera'),
        width=width,
        height=height,
        lens=_read_lens(file.entry('lens'), width, height) if 'lens' in file else None,
        undistort=file.flag('undistort'),
        crop=_read_crop(file.entry('crop'), width, height) if 'crop' in file else None,
        table=_read_table(file.entry('table')) if 'table' in file else None,
    )
    file.finish()
    if config.crop is not None and config.table is not None:
        raise file.refusal('crop', 'cannot stand beside table, which says what is shown')
    return config


def _side(entry: Entry, key: str) -> int:
    value = entry.integer(key)
    if not 1 <= value <= LARGEST_SIDE:
        raise entry.refusal(key, f'must be 1 to {LARGEST_SIDE} px, not {value}')
    return value


def _read_lens(entry: Entry, width: int, height: int) -> Lens:
    lens = Lens(
        width,
        height,
        fx=entry.number('fx'),
        fy=entry.number('fy'),
        cx=entry.number('cx'),
        cy=entry.number('cy'),
        distortion=entry.numbers('distortion'),
    )
    entry.finish()
    if not (lens.fx > 0.0 and lens.fy > 0.0):
        raise entry.refusal('fx', 'and fy must be larger than 0 px')
    if len(lens.distortion) not in LENS_COUNTS:
        raise entry.refusal('distortion', f'needs one of {LENS_COUNTS} coefficients')
    return lens


def _read_crop(entry: Entry, width: int, height: int) -> Crop:
    crop = Crop(*(entry.number(key) for key in ('x', 'y', 'width', 'height')))
    entry.finish()
    if crop.width <= 0.0 or crop.height <= 0.0:
        raise entry.refusal('', 'needs a width and a height larger than 0 px')
    if crop.x < 0 or crop.y < 0 or crop.x + crop.width > width or crop.y + crop.height > height:
        raise entry.refusal(
            '', f'reaches beyond the picture of {width}x{height} px; make it smaller or move it'
        )
    return crop


def _read_table(entry: Entry) -> TablePose:
    vectors = []
    for key in ('rotation', 'translation'):
        values = entry.numbers(key)
        if len(values) != 3:
            raise entry.refusal(key, f'must be three numbers, not {len(values)}')
        vectors.append((values[0], values[1], values[2]))
    entry.finish()
    if vectors[1][2] <= 0.0:
        raise entry.refusal('translation', 'puts the table behind the camera; calibrate it again')
    return TablePose(vectors[0], vectors[1])


def write_adapter_file(path: Path, config: AdapterConfig, remark: str) -> None:
    """Write a camera's file, whole or not at all.

    Args:
        remark: Lines at its top, without the comment's sign.

    Raises:
        HiwmError: STORAGE_FAULT.
    """
    data: dict[str, Any] = {
        'camera': config.name,
        'size': {'width': config.width, 'height': config.height},
        'undistort': config.undistort,
    }
    if config.lens is not None:
        data['lens'] = {
            **{name: round(getattr(config.lens, name), 4) for name in ('fx', 'fy', 'cx', 'cy')},
            'distortion': [round(value, 8) for value in config.lens.distortion],
        }
    if config.crop is not None:
        data['crop'] = {name: getattr(config.crop, name) for name in ('x', 'y', 'width', 'height')}
    if config.table is not None:
        data['table'] = {
            name: [round(value, 7) for value in getattr(config.table, name)]
            for name in ('rotation', 'translation')
        }
    comment = ''.join(f'# {line}\n' for line in remark.splitlines())
    text = comment + yaml.safe_dump(data, sort_keys=False, default_flow_style=None)
    write_whole(path, text)
