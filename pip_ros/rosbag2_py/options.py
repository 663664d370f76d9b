# SPDX-License-Identifier: Apache-2.0
"""What opens a bag: `StorageOptions`, `ConverterOptions`; and what narrows reading."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

STORAGE_SUFFIXES = {'mcap': '.mcap', 'sqlite3': '.db3'}


@dataclass
class StorageOptions:
    """Where a bag lies and how it is stored.

    Sizes are in bytes, `max_bagfile_duration` in seconds, the `_ns` times in nanoseconds; 0 (for
    the times -1) means no limit. What this package cannot do is refused by `refuse_unsupported`.
    """

    uri: str
    storage_id: str = ''
    max_bagfile_size: int = 0
    max_bagfile_duration: int = 0
    max_cache_size: int = 0
    storage_preset_profile: str = ''
    storage_config_uri: str = ''
    snapshot_mode: bool = False
    start_time_ns: int = -1
    end_time_ns: int = -1
    custom_data: dict[str, str] = field(default_factory=dict)

    def refuse_unsupported(self) -> None:
        """Raise RuntimeError for an option that has no effect here.

        `max_cache_size` is taken and has none: nothing is cached beyond one chunk.
        """
        if self.storage_id and self.storage_id not in STORAGE_SUFFIXES:
            raise RuntimeError(
                f"no storage plugin '{self.storage_id}'; known are {sorted(STORAGE_SUFFIXES)}"
            )
        for name, unset in {
            'snapshot_mode': False,
            'start_time_ns': -1,
            'end_time_ns': -1,
        }.items():
            if getattr(self, name) != unset:
                raise RuntimeError(f'StorageOptions.{name} is not supported by this rosbag2_py')


@dataclass
class ConverterOptions:
    """Serialization formats; only '' and 'cdr' exist, so nothing is ever converted."""

    input_serialization_format: str = ''
    output_serialization_format: str = ''

    def refuse_unsupported(self) -> None:
        """Raise RuntimeError for a format other than CDR."""
        for name in (self.input_serialization_format, self.output_serialization_format):
            if name not in ('', 'cdr'):
                raise RuntimeError(f"no converter for the serialization format '{name}'")


@dataclass
class StorageFilter:
    """Which topics are read; an empty list or expression lets every topic pass."""

    topics: list[str] = field(default_factory=list)
    services_events: list[str] = field(default_factory=list)
    regex: str = ''
    exclude_topics: list[str] = field(default_factory=list)
    exclude_service_events: list[str] = field(default_factory=list)
    regex_to_exclude: str = ''


class ReadOrderSortBy(IntEnum):
    """By which stamp messages are read."""

    ReceivedTimestamp = 0
    PublishedTimestamp = 1
    File = 2


@dataclass
class ReadOrder:
    """The order of reading; only received time, forward, is supported."""

    sort_by: ReadOrderSortBy = ReadOrderSortBy.ReceivedTimestamp
    reverse: bool = False


def get_default_storage_id() -> str:
    """Return the storage that is used when none is named."""
    return 'mcap'


def get_registered_readers() -> set[str]:
    """Return the storages that can be read."""
    return set(STORAGE_SUFFIXES)


def get_registered_writers() -> set[str]:
    """Return the storages that can be written."""
    return {'mcap'}
