# SPDX-License-Identifier: Apache-2.0
"""Writing one MCAP file so that it outlives its writer.

A chunk of messages goes to the operating system when it holds `chunk_size` bytes or is half a
second old, so a killed process loses that half second. A file that cannot grow any more (a full
disk) is ended at its last whole chunk, with its index. The bag's metadata stands at both ends:
custom data is never lost. The index of the chunks grows in a nameless file and not in memory,
however long a recording is; https://mcap.dev/spec describes the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
import fcntl
import os
from pathlib import Path
import shutil
import struct
import tempfile
import time
from typing import IO

from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinitionFormat
from rosbags.rosbag2.storage_mcap import zstd

from rosbag2_py.mcap_options import McapOptions

HEADER_OP, FOOTER_OP, SCHEMA_OP, CHANNEL_OP, MESSAGE_OP, CHUNK_OP, INDEX_OP, CHUNK_INDEX_OP = range(
    1, 9
)
STATISTICS_OP, METADATA_OP, METADATA_INDEX_OP, SUMMARY_OFFSET_OP, DATA_END_OP = range(0x0B, 0x10)
MAX_CHUNK_AGE = 0.5
CHUNKS_TO_GIVE_UP = 64
LIBRARY = 'rosbag2_py'
MCAP_MAGIC = b'\x89MCAP0\r\n'
TYPE_HASH_KEY = 'topic_type_hash'
MESSAGE = struct.Struct('<BQHIQQ')
MESSAGE_HEAD = MESSAGE.size - 9
RECORD = struct.Struct('<BQ')
CHUNK_HEAD = struct.Struct('<QQQI')
ENCODINGS = {MessageDefinitionFormat.MSG: 'ros2msg', MessageDefinitionFormat.IDL: 'ros2idl'}


def record(operation: int, *parts: bytes) -> bytes:
    """Return a record: its operation code, its length, its content."""
    return b''.join((RECORD.pack(operation, sum(map(len, parts))), *parts))


def string(text: str) -> bytes:
    """Return a text as MCAP stores it: its length in bytes, then UTF-8."""
    data = text.encode()
    return struct.pack('<I', len(data)) + data


def text_map(texts: dict[str, str]) -> bytes:
    """Return a map of texts: its length in bytes, then keys and values in turn."""
    data = b''.join(string(text) for pair in texts.items() for text in pair)
    return struct.pack('<I', len(data)) + data


@dataclass
class WrittenChunk:
    """A chunk on disk and, to give it up, what the file's figures were before it.

    Attributes:
        begin: Where it begins in the file.
        index_begin: Where its record begins among the chunks' index.
        counts: Its messages by channel.
        first: Smallest stamp (ns) before it.
        last: Largest stamp (ns) before it.
    """

    begin: int
    index_begin: int
    counts: dict[int, int]
    first: int | None
    last: int


class Chunk:
    """Messages that are not written yet; what they are made of is referred to and not copied."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.messages: dict[int, list[int]] = {}
        self.first: int | None = None
        self.last = 0
        self.opened = 0.0

    def add(self, data: bytes) -> None:
        """Append a record."""
        self.parts.append(data)
        self.size += len(data)

    def add_message(self, channel: int, stamp: int, data: bytes) -> None:
        """Append a message."""
        if self.first is None:
            self.opened = time.monotonic()
            self.first = stamp
        self.messages.setdefault(channel, []).extend((stamp, self.size))
        self.first, self.last = min(stamp, self.first), max(stamp, self.last)
        length = len(data)
        self.parts += (
            MESSAGE.pack(MESSAGE_OP, length + MESSAGE_HEAD, channel, 0, stamp, stamp),
            data,
        )
        self.size += MESSAGE.size + length


class McapFileWriter:
    """One MCAP file being written; `path` must not exist.

    The bag's metadata, as YAML, is stored twice: as it is known at the start, and at the end.
    """

    def __init__(self, path: Path, options: McapOptions, metadata: str) -> None:
        self.path = path
        self.options = options
        self.end = 0
        self._chunk = Chunk()
        self._schemas: dict[str, bytes] = {}
        self._channels: list[bytes] = []
        self._counts: dict[int, int] = {}
        self._first: int | None = None
        self._last = 0
        self._chunks = 0
        self._recent: deque[WrittenChunk] = deque(maxlen=CHUNKS_TO_GIVE_UP)
        self._index_end = 0
        self._index: IO[bytes] = tempfile.TemporaryFile(  # noqa: SIM115
            dir=path.parent, buffering=0
        )
        self._file: IO[bytes] = _hold(path.open('xb'))
        self._file.write(MCAP_MAGIC)
        self._file.write(record(HEADER_OP, string('ros2'), string(LIBRARY)))
        self._file.write(_metadata_record(metadata))
        self._file.flush()
        self.end = self._file.tell()

    @property
    def size(self) -> int:
        """Bytes of the file so far, the pending chunk counted before its compression."""
        return self.end + self._chunk.size

    @property
    def due(self) -> bool:
        """Whether a message has waited for its chunk's end for too long."""
        chunk = self._chunk
        return chunk.first is not None and time.monotonic() - chunk.opened >= MAX_CHUNK_AGE

    def add_msgtype(self, connection: Connection) -> None:
        """Declare a type; one without a definition gets an empty encoding."""
        definition = connection.msgdef
        schema = record(
            SCHEMA_OP,
            struct.pack('<H', len(self._schemas) + 1),
            string(connection.msgtype),
            string(ENCODINGS.get(definition.format, '') if definition.data else ''),
            string(definition.data),
        )
        self._schemas[connection.msgtype] = schema
        self._chunk.add(schema)

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """Declare a channel; its metadata holds what rosbag2 stores with a topic."""
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        channel = record(
            CHANNEL_OP,
            struct.pack('<HH', connection.id, 1 + list(self._schemas).index(connection.msgtype)),
            string(connection.topic),
            string(connection.ext.serialization_format),
            text_map(
                {
                    'offered_qos_profiles': offered_qos_profiles,
                    TYPE_HASH_KEY: connection.digest,
                }
            ),
        )
        self._channels.append(channel)
        self._counts[connection.id] = 0
        self._chunk.add(channel)

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Append a message; raises OSError when a chunk is due and cannot be written."""
        # Other kinds of data may change before the chunk is written.
        self._chunk.add_message(connection.id, timestamp, bytes(data))
        if self._chunk.size >= self.options.chunk_size or self.due:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Write the pending chunk and its index, and hand them to the operating system."""
        chunk = self._chunk
        if not chunk.size:
            return
        body, compression = b''.join(chunk.parts), ''
        if self.options.level is not None:
            packed = zstd.compress(body, level=self.options.level)
            if self.options.force_compression or len(packed) < len(body):
                body, compression = packed, 'zstd'
        head = b''.join(
            (
                CHUNK_HEAD.pack(chunk.first or 0, chunk.last, chunk.size, 0),
                string(compression),
                struct.pack('<Q', len(body)),
            )
        )
        chunk_length = RECORD.size + len(head) + len(body)
        offsets, indexes = b'', []
        at = self.end + chunk_length
        for channel, places in chunk.messages.items():
            offsets += struct.pack('<HQ', channel, at)
            indexes.append(
                record(
                    INDEX_OP,
                    struct.pack(f'<HI{len(places)}Q', channel, 8 * len(places), *places),
                )
            )
            at += len(indexes[-1])
        entry = record(
            CHUNK_INDEX_OP,
            struct.pack('<4QI', chunk.first or 0, chunk.last, self.end, chunk_length, len(offsets)),
            offsets,
            struct.pack('<Q', at - self.end - chunk_length),
            string(compression),
            struct.pack('<QQ', len(body), chunk.size),
        )
        self._file.write(RECORD.pack(CHUNK_OP, len(head) + len(body)) + head)
        self._file.write(body)
        self._file.write(b''.join(indexes))
        self._file.flush()
        self._write_index(entry)
        counts = {channel: len(places) // 2 for channel, places in chunk.messages.items()}
        self._recent.append(
            WrittenChunk(self.end, self._index_end, counts, self._first, self._last)
        )
        for channel, count in counts.items():
            self._counts[channel] += count
        if chunk.first is not None:
            self._first = chunk.first if self._first is None else min(self._first, chunk.first)
            self._last = max(self._last, chunk.last)
        self.end, self._index_end = at, self._index_end + len(entry)
        self._chunks += 1
        self._chunk = Chunk()

    def _write_index(self, entry: bytes) -> None:
        left = memoryview(entry)
        while left:
            left = left[self._index.write(left) :]

    def tally(self) -> tuple[int, int, dict[int, int]]:
        """Return first stamp, last stamp (ns) and messages per channel, pending ones included."""
        counts = dict(self._counts)
        for channel, places in self._chunk.messages.items():
            counts[channel] += len(places) // 2
        firsts = [first for first in (self._first, self._chunk.first) if first is not None]
        return min(firsts, default=0), max(self._last, self._chunk.last), counts

    def finish(self, metadata: str) -> None:
        """End the file with its index and the bag's metadata; raises OSError."""
        self.close_chunk()
        at = self.end
        closing = _metadata_record(metadata)
        metadata_index = record(
            METADATA_INDEX_OP, struct.pack('<QQ', at, len(closing)), string('rosbag2')
        )
        closing += record(DATA_END_OP, bytes(4))
        self._file.write(closing)
        summary_begin = at = at + len(closing)
        counts = sorted(self._counts.items())
        statistics = record(
            STATISTICS_OP,
            struct.pack(
                '<QHIIIIQQI',
                sum(self._counts.values()),
                len(self._schemas),
                len(self._channels),
                0,
                1,
                self._chunks,
                self._first or 0,
                self._last,
                10 * len(counts),
            ),
            b''.join(struct.pack('<HQ', *count) for count in counts),
        )
        groups = b''
        for operation, part in (
            (SCHEMA_OP, b''.join(self._schemas.values())),
            (CHANNEL_OP, b''.join(self._channels)),
            (CHUNK_INDEX_OP, None),
            (METADATA_INDEX_OP, metadata_index),
            (STATISTICS_OP, statistics),
        ):
            if part is None:
                length = self._index_end
                self._index.seek(0)
                shutil.copyfileobj(self._index, self._file)
            else:
                length = len(part)
                self._file.write(part)
            if length:
                groups += record(SUMMARY_OFFSET_OP, struct.pack('<BQQ', operation, at, length))
            at += length
        self._file.write(groups)
        self._file.write(record(FOOTER_OP, struct.pack('<QQI', summary_begin, at, 0)))
        self._file.write(MCAP_MAGIC)
        self._file.close()
        self._index.close()

    def end_early(self, save_metadata: Callable[[], str]) -> bool:
        """After a failed write, end the file with as much as fits; return whether it has an index.

        `save_metadata` writes the bag's metadata.yaml and returns its text.
        The pending chunk is tried once more; then the newest chunks are given up, one after
        another, until index and metadata have room. Where nothing helps the file keeps its whole
        chunks without an index, and `Reindexer` can end it later.
        """
        for _ in self._shorter():
            with suppress(OSError):
                self._file.close()
            try:
                self._index.truncate(self._index_end)
                self._index.seek(self._index_end)
                os.truncate(self.path, self.end)
                self._file = _hold(self.path.open('ab'))
                self.close_chunk()
                self.finish(save_metadata())
                return True
            except OSError:
                continue
        with suppress(OSError):
            self._file.close()
        self._index.close()
        return False

    def _shorter(self) -> Iterator[None]:
        """The file as it is, without the pending chunk, then without one chunk after another."""
        yield
        if self._chunk.size:
            self._chunk = Chunk()
            yield
        while self._recent:
            chunk = self._recent.pop()
            self.end, self._index_end = chunk.begin, chunk.index_begin
            self._first, self._last = chunk.first, chunk.last
            for channel, count in chunk.counts.items():
                self._counts[channel] -= count
            self._chunks -= 1
            yield


def _hold(file: IO[bytes]) -> IO[bytes]:
    """The same file, locked until it is closed or its writer ends; see `is_being_written`."""
    # Where the file system knows no locks, nobody can tell, and recording goes on.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def _metadata_record(metadata: str) -> bytes:
    return record(METADATA_OP, string('rosbag2'), text_map({'serialized_metadata': metadata}))
