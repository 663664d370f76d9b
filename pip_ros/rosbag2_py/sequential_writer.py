# SPDX-License-Identifier: Apache-2.0
"""`SequentialWriter`: serialized messages into a new bag, in MCAP.

A failed write ends the bag with what was written before and raises RuntimeError; a small reserve of
disk space, given back then, makes room for the messages that were still in memory. A thread sees to
it that no message waits for the next one to be handed to the operating system.
"""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import shutil
import threading
from typing import TYPE_CHECKING
import weakref

from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
import yaml

from rosbag2_py.mcap_options import McapOptions, mcap_options
from rosbag2_py.mcap_writer import McapFileWriter
from rosbag2_py.message_definition import find_definition
from rosbag2_py.metadata import (
    BagMetadata,
    FileInformation,
    MetadataIo,
    TopicInformation,
    TopicMetadata,
)
from rosbag2_py.options import ConverterOptions, StorageOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

RESERVE_FILE = '.reserve'
RESERVE_BYTES = 4 * 2**20
MIN_SPLIT_SIZE = 1024
FLUSH_PERIOD = 0.25
DEFINITION_FORMATS = {
    'ros2msg': MessageDefinitionFormat.MSG,
    'ros2idl': MessageDefinitionFormat.IDL,
}


class SequentialWriter:
    """Writes one bag: `open`, `create_topic`, `write`, `close`."""

    def __init__(self) -> None:
        self._storage: McapFileWriter | None = None
        self._options = StorageOptions(uri='')
        self._mcap_options = McapOptions()
        self._folder = Path()
        self._topics: dict[str, TopicMetadata] = {}
        self._connections: dict[str, Connection] = {}
        self._files: list[FileInformation] = []
        self._finished_counts: dict[int, int] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._failure: RuntimeError | None = None

    def open(self, storage_options: StorageOptions, converter_options: ConverterOptions) -> None:
        """Create the bag's folder and its first file.

        Raises RuntimeError where the folder exists, cannot be made or has no room, and for options
        that this package does not support.
        """
        if self._storage:
            raise RuntimeError(f"the bag '{self._folder}' is still open; close it first")
        storage_options.refuse_unsupported()
        converter_options.refuse_unsupported()
        if storage_options.storage_id not in ('', 'mcap'):
            raise RuntimeError(
                f"this rosbag2_py writes 'mcap' only, not '{storage_options.storage_id}'"
            )
        written_as = mcap_options(
            storage_options.storage_preset_profile, storage_options.storage_config_uri
        )
        if 0 < storage_options.max_bagfile_size < MIN_SPLIT_SIZE:
            raise RuntimeError(
                f'max_bagfile_size {storage_options.max_bagfile_size} is below the smallest size '
                f'of a split, {MIN_SPLIT_SIZE} bytes'
            )
        for key, value in storage_options.custom_data.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f'custom_data holds text only, not {key!r}: {value!r}')
        folder = Path(storage_options.uri)
        if not storage_options.uri or folder.exists():
            raise RuntimeError(
                f"Bag directory already exists ({folder}), can't overwrite existing bag"
            )
        self._options, self._mcap_options = storage_options, written_as
        self._folder, self._failure = folder, None
        self._topics, self._connections = {}, {}
        self._files, self._finished_counts = [], {}
        try:
            folder.mkdir(parents=True)
            with (folder / RESERVE_FILE).open('xb') as reserve:
                os.posix_fallocate(reserve.fileno(), 0, RESERVE_BYTES)
            self._open_file()
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise RuntimeError(
                f'Failed to create bag directory ({folder}): {error.strerror}'
            ) from error
        self._closed = threading.Event()
        threading.Thread(
            target=_flush_while_open,
            args=(weakref.ref(self), self._closed),
            name='bag flush',
            daemon=True,
        ).start()

    def _open_file(self) -> None:
        self._storage = McapFileWriter(
            self._folder / f'{self._folder.name}_{len(self._files)}.mcap',
            self._mcap_options,
            self._describe(),
        )
        declared: set[str] = set()
        for connection in self._connections.values():
            self._declare(connection, declared)

    def _declare(self, connection: Connection, declared: set[str]) -> None:
        assert self._storage
        if connection.msgtype not in declared:
            self._storage.add_msgtype(connection)
            declared.add(connection.msgtype)
        offered = self._topics[connection.topic].document()['offered_qos_profiles']
        text = yaml.dump(offered, Dumper=yaml.CSafeDumper, sort_keys=False) if offered else ''
        self._storage.add_connection(connection, text.strip())

    def create_topic(self, topic: TopicMetadata) -> None:
        """Declare a topic; its type's definition goes into the bag.

        A topic that exists is left as it is; RuntimeError where its type differs.
        """
        with self._lock:
            self._require_open()
            self._create_topic(topic)

    def _create_topic(self, topic: TopicMetadata) -> None:
        if known := self._topics.get(topic.name):
            if known.type != topic.type:
                raise RuntimeError(
                    f"Topic '{topic.name}' exists with type '{known.type}', not '{topic.type}'"
                )
            return
        if topic.serialization_format != 'cdr':
            raise RuntimeError(
                f"Topic '{topic.name}' has the serialization format "
                f"'{topic.serialization_format}'; only 'cdr' is supported"
            )
        definition = find_definition(topic.type)
        connection = Connection(
            len(self._connections) + 1,
            topic.name,
            topic.type,
            MessageDefinition(
                DEFINITION_FORMATS.get(definition.encoding, MessageDefinitionFormat.NONE),
                definition.encoded_message_definition,
            ),
            topic.type_description_hash or definition.type_hash,
            0,
            ConnectionExtRosbag2(
                topic.serialization_format, [qos.policies for qos in topic.offered_qos_profiles]
            ),
            None,
        )
        declared = {other.msgtype for other in self._connections.values()}
        self._topics[topic.name] = TopicMetadata(
            connection.id,
            topic.name,
            topic.type,
            topic.serialization_format,
            list(topic.offered_qos_profiles),
            connection.digest,
        )
        self._connections[topic.name] = connection
        self._declare(connection, declared)

    def remove_topic(self, topic: TopicMetadata) -> None:
        """Refused: a bag keeps the topics that it was given."""
        raise RuntimeError('SequentialWriter.remove_topic is not supported by this rosbag2_py')

    def take_snapshot(self) -> bool:
        """Refused: there is no snapshot mode."""
        raise RuntimeError('SequentialWriter.take_snapshot is not supported by this rosbag2_py')

    def write(self, topic_name: str, message: bytes, time_stamp: int) -> None:
        """Append a serialized message that was received at `time_stamp` (ns since the epoch).

        Raises RuntimeError for an unknown topic, and when the bag cannot grow: then it has been
        closed, readable up to there.
        """
        with self._lock:
            self._write(topic_name, message, time_stamp)

    def _write(self, topic_name: str, message: bytes, time_stamp: int) -> None:
        if not self._storage:
            self._require_open()
        connection = self._connections.get(topic_name)
        if connection is None:
            raise RuntimeError(
                f"Topic '{topic_name}' has not been created yet! Call 'create_topic' first."
            )
        if time_stamp < 0:
            raise RuntimeError(f"a message on '{topic_name}' has the negative stamp {time_stamp}")
        assert self._storage
        try:
            self._storage.write(connection, time_stamp, message)
            if self._options.max_bagfile_size or self._options.max_bagfile_duration:
                self._split_if_due(time_stamp)
        except OSError as error:
            self._end_early(error)

    def split_bagfile(self) -> None:
        """Go on in a new file."""
        with self._lock:
            self._require_open()
            try:
                self._finish_file()
                self._open_file()
            except OSError as error:
                self._end_early(error)

    def _flush_if_due(self) -> None:
        """Hand an old chunk to the operating system; the next call tells a failure."""
        with self._lock:
            if not (self._storage and self._storage.due):
                return
            try:
                self._storage.close_chunk()
            except OSError as error:
                try:
                    self._end_early(error)
                except RuntimeError as failure:
                    self._failure = failure

    def _split_if_due(self, stamp: int) -> None:
        assert self._storage
        size, duration = self._options.max_bagfile_size, self._options.max_bagfile_duration
        first = self._storage.tally()[0] if duration else 0
        if (size and self._storage.size >= size) or (
            duration and stamp - first >= duration * 10**9
        ):
            self._finish_file()
            self._open_file()

    def close(self) -> None:
        """Write the index and metadata.yaml; nothing happens on a bag that is closed.

        Raises RuntimeError where they cannot be written.
        """
        self._closed.set()
        with self._lock:
            self._tell_failure()
            if not self._storage:
                return
            try:
                self._finish_file()
                self._save_metadata()
            except OSError as error:
                self._end_early(error)
            self._release_reserve()

    def _finish_file(self) -> None:
        assert self._storage
        self._storage.finish(self._describe())
        _, _, counts = self._storage.tally()
        self._files.append(self._current_file())
        for channel, count in counts.items():
            self._finished_counts[channel] = self._finished_counts.get(channel, 0) + count
        self._storage = None

    def _current_file(self) -> FileInformation:
        assert self._storage
        first, last, counts = self._storage.tally()
        return FileInformation(self._storage.path.name, first, last - first, sum(counts.values()))

    def _metadata(self) -> BagMetadata:
        files: Sequence[FileInformation] = self._files
        counts = dict(self._finished_counts)
        if self._storage:
            files = [*files, self._current_file()]
            for channel, count in self._storage.tally()[2].items():
                counts[channel] = counts.get(channel, 0) + count
        topics = [
            TopicInformation(topic, counts.get(topic.id, 0)) for topic in self._topics.values()
        ]
        return BagMetadata.of_files('mcap', list(files), topics, self._options.custom_data)

    def _describe(self) -> str:
        return MetadataIo().serialize_metadata(self._metadata())

    def _save_metadata(self) -> str:
        MetadataIo().write_metadata(str(self._folder), self._metadata())
        return self._describe()

    def _end_early(self, error: OSError) -> None:
        """Give up writing: make room, end the bag, raise."""
        self._closed.set()
        self._release_reserve()
        storage, indexed = self._storage, False
        with suppress(OSError):
            if storage:
                indexed = storage.end_early(self._save_metadata)
            else:
                self._save_metadata()
                indexed = True
        self._storage = None
        outcome = 'it was closed and holds what was written before'
        if not indexed:
            outcome = 'make room, then rosbag2_py.Reindexer restores what was written before'
        raise RuntimeError(
            f"cannot go on writing the bag '{self._folder}': {error.strerror or error}; {outcome}"
        ) from error

    def _release_reserve(self) -> None:
        (self._folder / RESERVE_FILE).unlink(missing_ok=True)

    def _tell_failure(self) -> None:
        """Raise what failed between two calls, once."""
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def _require_open(self) -> None:
        self._tell_failure()
        if not self._storage:
            raise RuntimeError('Bag is not open. Call open() before writing.')

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()


def _flush_while_open(
    writer: weakref.ReferenceType[SequentialWriter], closed: threading.Event
) -> None:
    """Keep no writer alive: one that is dropped closes its bag."""
    while not closed.wait(FLUSH_PERIOD):
        target = writer()
        if target is None:
            return
        target._flush_if_due()
        del target
