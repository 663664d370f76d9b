# SPDX-License-Identifier: Apache-2.0
"""Opening what lies on disk: a bag's folder, or one of its files, finished or not."""

from __future__ import annotations

from pathlib import Path

from rosbags.rosbag2 import Reader, ReaderError
import yaml

from rosbag2_py.mcap_file import UnfinishedMcapReader, is_being_written, is_finished
from rosbag2_py.metadata import (
    METADATA_FILE,
    BagMetadata,
    FileInformation,
    MetadataIo,
    TopicInformation,
    TopicMetadata,
)
from rosbag2_py.options import STORAGE_SUFFIXES
from rosbag2_py.qos import QoS

STORAGE_OF_SUFFIX = {suffix: name for name, suffix in STORAGE_SUFFIXES.items()}


def open_bag(uri: str) -> Reader:
    """Open a bag's folder or one file of it; the caller closes the reader.

    Raises RuntimeError with a sentence where there is no bag or where it is damaged.
    """
    path = Path(uri)
    if not uri or not path.exists():
        raise RuntimeError(f"No storage could be initialized: '{uri}' does not exist")
    if path.is_dir() and not (path / METADATA_FILE).is_file():
        if busy := next(filter(is_being_written, path.glob(f'*{STORAGE_SUFFIXES["mcap"]}')), None):
            raise RuntimeError(
                f"'{uri}' is being recorded and has its {METADATA_FILE} when that has ended; "
                f"until then read '{busy}'"
            )
        raise RuntimeError(
            f"'{uri}' has no {METADATA_FILE}: it is not a bag, or its writer was killed, and then "
            f"rosbag2_py.Reindexer().reindex(StorageOptions(uri='{uri}', storage_id='mcap')) "
            'completes it'
        )
    try:
        reader = Reader(path)
        if path.suffix == STORAGE_SUFFIXES['mcap'] and not path.is_dir() and not is_finished(path):
            reader.storage = UnfinishedMcapReader(path)
        reader.open()
    except (ReaderError, OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeError(f"No storage could be initialized from '{uri}': {error}") from error
    return reader


def describe_file(path: Path, reader: Reader) -> BagMetadata:
    """Return the metadata of one open file, and the custom data that it carries."""
    custom: dict[str, str] = {}
    text = getattr(reader.storage, 'metadata_text', '')
    if text:
        custom = (yaml.load(text, Loader=yaml.CSafeLoader) or {}).get('custom_data') or {}
    topics = [
        TopicInformation(
            TopicMetadata(
                connection.id,
                connection.topic,
                connection.msgtype,
                getattr(connection.ext, 'serialization_format', 'cdr'),
                [
                    QoS.from_policies(policies)
                    for policies in getattr(connection.ext, 'offered_qos_profiles', [])
                ],
                connection.digest,
            ),
            connection.msgcount,
        )
        for connection in reader.connections
    ]
    count = reader.message_count
    file = FileInformation(
        path.name,
        reader.start_time if count else 0,
        max(0, reader.end_time - 1 - reader.start_time) if count else 0,
        count,
    )
    metadata = BagMetadata.of_files(STORAGE_OF_SUFFIX[path.suffix], [file], topics, custom)
    metadata.bag_size = path.stat().st_size
    return metadata


class Info:
    """What `ros2 bag info` prints."""

    def read_metadata(self, uri: str, storage_id: str = '') -> BagMetadata:
        """Read the metadata of a bag's folder or of one file; raises RuntimeError.

        The storage is told by the bag itself, so `storage_id` may stay empty.
        """
        if storage_id and storage_id not in STORAGE_SUFFIXES:
            raise RuntimeError(
                f"no storage plugin '{storage_id}'; known are {sorted(STORAGE_SUFFIXES)}"
            )
        path = Path(uri)
        if (path / METADATA_FILE).is_file():
            return MetadataIo().read_metadata(uri)
        reader = open_bag(uri)
        try:
            return describe_file(path, reader)
        finally:
            reader.close()
