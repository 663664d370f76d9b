# SPDX-License-Identifier: Apache-2.0
"""A bag's metadata: the classes, and `metadata.yaml` (rosbag2's version 9) in and out."""

from __future__ import annotations

from dataclasses import dataclass, field
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING, Any

from rosbags.rosbag2.metadata import dump_qos_v9, parse_qos
import yaml

from rosbag2_py.qos import QoS

if TYPE_CHECKING:
    from rclpy.duration import Duration
    from rclpy.time import Time

METADATA_FILE = 'metadata.yaml'
VERSION = 9
ROOT = 'rosbag2_bagfile_information'
INDENT = ' ' * 19
SERVICE_EVENT = '/_service_event'


@dataclass
class TopicMetadata:
    """One recorded topic; `id` is ignored by writers, as upstream's is."""

    id: int
    name: str
    type: str
    serialization_format: str
    offered_qos_profiles: list[QoS] = field(default_factory=list)
    type_description_hash: str = ''

    def __post_init__(self) -> None:
        for qos in self.offered_qos_profiles:
            if not isinstance(qos, QoS):
                raise TypeError(
                    f"offered_qos_profiles of '{self.name}' must hold rosbag2_py._storage.QoS, "
                    f'not {type(qos).__name__}'
                )

    def equals(self, other: TopicMetadata) -> bool:
        """Compare name, type, format, hash and the offered policies."""
        return self.document() == other.document()

    def document(self) -> dict[str, Any]:
        """Return what metadata.yaml holds of a topic."""
        return {
            'name': self.name,
            'type': self.type,
            'serialization_format': self.serialization_format,
            'offered_qos_profiles': dump_qos_v9(
                [qos.policies for qos in self.offered_qos_profiles]
            ),
            'type_description_hash': self.type_description_hash,
        }


@dataclass
class TopicInformation:
    """A topic and the number of its messages."""

    topic_metadata: TopicMetadata
    message_count: int


class _Interval:
    """A start and a length in nanoseconds, shown as rclpy's Time and Duration."""

    starting_time_ns: int
    duration_ns: int

    @property
    def starting_time(self) -> Time:
        """Stamp of the first message."""
        from rclpy.time import Time  # noqa: PLC0415

        return Time(nanoseconds=self.starting_time_ns)

    @property
    def duration(self) -> Duration:
        """Time from the first message to the last."""
        from rclpy.duration import Duration  # noqa: PLC0415

        return Duration(nanoseconds=self.duration_ns)


@dataclass
class FileInformation(_Interval):
    """One of a bag's files; `path` is relative to the bag's folder."""

    path: str
    starting_time_ns: int
    duration_ns: int
    message_count: int


@dataclass
class BagMetadata(_Interval):
    """What a bag holds; printing it gives the text of `ros2 bag info`."""

    version: int = VERSION
    bag_size: int = 0
    storage_identifier: str = ''
    relative_file_paths: list[str] = field(default_factory=list)
    files: list[FileInformation] = field(default_factory=list)
    duration_ns: int = 0
    starting_time_ns: int = 0
    message_count: int = 0
    topics_with_message_count: list[TopicInformation] = field(default_factory=list)
    compression_format: str = ''
    compression_mode: str = ''
    custom_data: dict[str, str] = field(default_factory=dict)
    ros_distro: str = ''

    @classmethod
    def of_files(
        cls,
        storage_identifier: str,
        files: list[FileInformation],
        topics: list[TopicInformation],
        custom_data: dict[str, str],
    ) -> BagMetadata:
        """Sum the files up."""
        filled = [file for file in files if file.message_count]
        start = min((file.starting_time_ns for file in filled), default=0)
        end = max((file.starting_time_ns + file.duration_ns for file in filled), default=0)
        return cls(
            storage_identifier=storage_identifier,
            relative_file_paths=[file.path for file in files],
            files=files,
            starting_time_ns=start,
            duration_ns=end - start,
            message_count=sum(file.message_count for file in files),
            topics_with_message_count=topics,
            custom_data=dict(custom_data),
            ros_distro=os.environ.get('ROS_DISTRO', ''),
        )

    def __str__(self) -> str:
        services = [
            topic
            for topic in self.topics_with_message_count
            if topic.topic_metadata.name.endswith(SERVICE_EVENT)
        ]
        topics = [topic for topic in self.topics_with_message_count if topic not in services]
        lines = [
            '',
            'Files:             ' + f'\n{INDENT}'.join(self.relative_file_paths),
            f'Bag size:          {format_size(self.bag_size)}',
            f'Storage id:        {self.storage_identifier}',
            f'ROS Distro:        {self.ros_distro or "unknown"}',
            f'Duration:          {format_seconds(self.duration_ns)}s',
            f'Start:             {format_stamp(self.starting_time_ns)}',
            f'End:               {format_stamp(self.starting_time_ns + self.duration_ns)}',
            f'Messages:          {sum(topic.message_count for topic in topics)}',
            'Topic information: ' + f'\n{INDENT}'.join(map(format_topic, topics)),
            f'Service:           {len(services)}',
            'Service information: ' + f'\n{INDENT}  '.join(map(format_topic, services)),
        ]
        return '\n'.join(lines)

    __repr__ = __str__


def format_seconds(nanoseconds: int) -> str:
    """Return seconds with nine digits after the point."""
    return f'{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}'


def format_stamp(nanoseconds: int) -> str:
    """Return local date and time, then seconds since the epoch in brackets."""
    local = time.localtime(nanoseconds // 10**9)
    date = f'{time.strftime("%b", local)} {local.tm_mday:2d} {local.tm_year}'
    clock = f'{time.strftime("%H:%M:%S", local)}.{nanoseconds % 10**9:09d}'
    return f'{date} {clock} ({format_seconds(nanoseconds)})'


def format_size(size: float) -> str:
    """Return bytes in the largest binary unit that leaves at least one."""
    for unit in ('B', 'KiB', 'MiB', 'GiB'):
        if size < 1024:
            return f'{size:.{0 if unit == "B" else 1}f} {unit}'
        size /= 1024
    return f'{size:.1f} TiB'


def format_topic(topic: TopicInformation) -> str:
    """Return one topic's line of `ros2 bag info`."""
    metadata = topic.topic_metadata
    return (
        f'Topic: {metadata.name} | Type: {metadata.type} | Count: {topic.message_count} | '
        f'Serialization Format: {metadata.serialization_format}'
    )


class MetadataIo:
    """Reads and writes the metadata.yaml of a bag's folder."""

    def metadata_file_exists(self, uri: str) -> bool:
        """Return whether the folder has a metadata.yaml."""
        return (Path(uri) / METADATA_FILE).is_file()

    def serialize_metadata(self, metadata: BagMetadata) -> str:
        """Return the YAML text, without the outermost key."""
        start, length = 'nanoseconds_since_epoch', 'nanoseconds'
        document = {
            'version': metadata.version,
            'storage_identifier': metadata.storage_identifier,
            'duration': {length: metadata.duration_ns},
            'starting_time': {start: metadata.starting_time_ns},
            'message_count': metadata.message_count,
            'topics_with_message_count': [
                {
                    'topic_metadata': topic.topic_metadata.document(),
                    'message_count': topic.message_count,
                }
                for topic in metadata.topics_with_message_count
            ],
            'compression_format': metadata.compression_format,
            'compression_mode': metadata.compression_mode,
            'relative_file_paths': metadata.relative_file_paths,
            'files': [
                {
                    'path': file.path,
                    'starting_time': {start: file.starting_time_ns},
                    'duration': {length: file.duration_ns},
                    'message_count': file.message_count,
                }
                for file in metadata.files
            ],
            'custom_data': metadata.custom_data or None,
            'ros_distro': metadata.ros_distro,
        }
        return yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)

    def deserialize_metadata(self, text: str) -> BagMetadata:
        """Return the metadata of a YAML text with or without the outermost key.

        Raises RuntimeError where the text is no bag's metadata.
        """
        try:
            return self._parse(yaml.load(text, Loader=yaml.CSafeLoader))
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise RuntimeError(f'the text is not rosbag2 metadata: {error!r}') from error

    def _parse(self, document: dict[str, Any]) -> BagMetadata:
        document = document.get(ROOT, document)
        start, length = 'nanoseconds_since_epoch', 'nanoseconds'
        topics = []
        for index, entry in enumerate(document['topics_with_message_count'], 1):
            topic = entry['topic_metadata']
            metadata = TopicMetadata(
                id=index,
                name=topic['name'],
                type=topic['type'],
                serialization_format=topic['serialization_format'],
                offered_qos_profiles=[
                    QoS.from_policies(policies)
                    for policies in parse_qos(topic.get('offered_qos_profiles') or [])
                ],
                type_description_hash=topic.get('type_description_hash', ''),
            )
            topics.append(TopicInformation(metadata, entry['message_count']))
        return BagMetadata(
            version=document['version'],
            storage_identifier=document['storage_identifier'],
            relative_file_paths=list(document['relative_file_paths']),
            files=[
                FileInformation(
                    file['path'],
                    file['starting_time'][start],
                    file['duration'][length],
                    file['message_count'],
                )
                for file in document.get('files') or []
            ],
            duration_ns=document['duration'][length],
            starting_time_ns=document['starting_time'][start],
            message_count=document['message_count'],
            topics_with_message_count=topics,
            compression_format=document.get('compression_format') or '',
            compression_mode=document.get('compression_mode') or '',
            custom_data=dict(document.get('custom_data') or {}),
            ros_distro=document.get('ros_distro') or '',
        )

    def read_metadata(self, uri: str) -> BagMetadata:
        """Read the folder's metadata.yaml and measure its files.

        Raises RuntimeError where there is none or where it is damaged.
        """
        path = Path(uri) / METADATA_FILE
        try:
            metadata = self.deserialize_metadata(path.read_text(encoding='utf-8'))
        except OSError as error:
            raise RuntimeError(f"cannot read '{path}': {error.strerror}") from error
        except (RuntimeError, UnicodeDecodeError) as error:
            raise RuntimeError(f"cannot read '{path}': {error}") from error
        files = [Path(uri) / Path(name).name for name in metadata.relative_file_paths]
        metadata.bag_size = sum(file.stat().st_size for file in files if file.is_file())
        return metadata

    def write_metadata(self, uri: str, metadata: BagMetadata) -> None:
        """Write the folder's metadata.yaml whole or not at all; raises OSError."""
        path = Path(uri) / METADATA_FILE
        text = self.serialize_metadata(metadata)
        body = ''.join(f'  {line}\n' for line in text.splitlines())
        partial = path.with_name(f'{METADATA_FILE}.part')
        try:
            partial.write_text(f'{ROOT}:\n{body}', encoding='utf-8')
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
