# SPDX-License-Identifier: Apache-2.0
"""How an MCAP file is written: a preset's name, and what a file of writer options lays over it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

CHUNK_SIZE = 768 * 1024
# The zstd levels that the names of https://mcap.dev stand for.
LEVELS = {'Fastest': -5, 'Fast': -3, 'Default': 1, 'Slow': 5, 'Slowest': 19}


@dataclass(frozen=True)
class McapOptions:
    """Writer options.

    Attributes:
        level: Of zstd; None: no compression.
        chunk_size: Bytes after which a chunk is closed.
        force_compression: Also where it makes a chunk larger.
    """

    level: int | None = None
    chunk_size: int = CHUNK_SIZE
    force_compression: bool = False


PRESETS = {
    '': McapOptions(),
    'none': McapOptions(),
    'fastwrite': McapOptions(),
    'zstd_fast': McapOptions(LEVELS['Fastest']),
    'zstd_small': McapOptions(LEVELS['Slowest'], 4 * 2**20),
}


def mcap_options(preset: str, config_uri: str) -> McapOptions:
    """Return the options of a preset, with those of the YAML file `config_uri` laid over it.

    The file's keys are the fields of mcap::McapWriterOptions, as upstream's
    `storage_config_uri` takes them: `chunkSize`, `compression` (None or Zstd), `compressionLevel`
    and `forceCompression`; `noChunkCRC: true` says what is done anyway. Raises RuntimeError for
    anything else.
    """
    if preset not in PRESETS:
        raise RuntimeError(
            f"unknown MCAP storage preset profile '{preset}'; known are "
            + ', '.join(f"'{name}'" for name in PRESETS)
        )
    options = PRESETS[preset]
    if not config_uri:
        return options
    try:
        given = yaml.load(Path(config_uri).read_text(encoding='utf-8'), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RuntimeError(f"cannot read the storage options '{config_uri}': {error}") from error
    if not isinstance(given, dict):
        raise RuntimeError(f"the storage options '{config_uri}' are no YAML mapping")
    for key, value in given.items():
        options = _with(options, key, value, config_uri)
    return options


def _with(options: McapOptions, key: str, value: Any, where: str) -> McapOptions:
    level = LEVELS['Default'] if options.level is None else options.level
    if key == 'chunkSize' and isinstance(value, int) and value > 0:
        return replace(options, chunk_size=value)
    if key == 'compression' and value in ('None', 'Zstd'):
        return replace(options, level=level if value == 'Zstd' else None)
    if key == 'compressionLevel' and value in LEVELS:
        return options if options.level is None else replace(options, level=LEVELS[value])
    if key == 'forceCompression' and isinstance(value, bool):
        return replace(options, force_compression=value)
    if key == 'noChunkCRC' and value is True:
        return options
    raise RuntimeError(f"'{key}: {value}' in '{where}' is not supported by this rosbag2_py")
