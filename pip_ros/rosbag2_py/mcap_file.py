# SPDX-License-Identifier: Apache-2.0
"""MCAP files that outlive their writer.

Written: a chunk of messages goes to the file when it holds 1 MiB or is half a second old, so a
killed process loses that half second. A file that cannot grow any more (a full disk) is ended at
its last whole chunk, with its index. The metadata stands at both ends: custom data is never lost.

Read: a file without an end (its writer was killed) is read up to its last whole record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BytesIO
import os
from pathlib import Path
import struct
import time

from rosbags.interfaces import Connection, ConnectionExtRosbag2
from rosbags.rosbag2 import CompressionMode, ReaderError
from rosbags.rosbag2.storage_mcap import (
    Channel,
    ChunkInfo,
    McapReader,
    McapWriter,
    PendingChunk,
    Schema,
    read_sized,
    read_string,
    write_channel,
    write_record,
    write_schema,
    write_string,
    write_uint32,
    zstd,
)

MESSAGE_OP, CHUNK_OP, INDEX_OP, METADATA_OP, DATA_END_OP = 0x05, 0x06, 0x07, 0x0C, 0x0F
MAX_CHUNK_AGE = 0.5
MAX_CHUNK_SIZE = 2**20
METADATA_VERSION = 9
NEVER = 2**63 - 1
MCAP_MAGIC = b'\x89MCAP0\r\n'
TYPE_HASH_KEY = 'topic_type_hash'
# The compression levels that rosbag2's presets stand for; None: no compression.
PRESETS: dict[str, int | None] = {
    '': None,
    'none': None,
    'fastwrite': None,
    'zstd_fast': -5,
    'zstd_small': 19,
}
MESSAGE = struct.Struct('<BQHIQQ')
RECORD = struct.Struct('<BQ')
CHUNK_HEAD = struct.Struct('<QQQI')


@dataclass
class WrittenChunk:
    """A chunk on disk: where it and its index begin and end, its stamps (ns), its messages."""

    begin: int
    end: int
    first: int
    last: int
    counts: dict[int, int]


class McapFileWriter(McapWriter):
    """One MCAP file being written.

    The bag's metadata, as YAML, is stored twice: as it is known at the start, and at the end.
    """

    def __init__(self, folder: Path, name: str, preset: str, metadata: str) -> None:
        level = PRESETS[preset]
        super().__init__(folder, CompressionMode.NONE if level is None else CompressionMode.STORAGE)
        if level is not None:
            self.compressor = partial(zstd.compress, level=level)
        self.path = self.path.rename(folder / name)
        self.flush_at = 0.0
        self.written: list[WrittenChunk] = []
        entry, record = BytesIO(), BytesIO()
        write_string(entry, 'serialized_metadata')
        write_string(entry, metadata)
        write_string(record, 'rosbag2')
        write_uint32(record, entry.tell())
        record.write(entry.getbuffer())
        write_record(self.bio, METADATA_OP, record)
        self.bio.flush()
        self.end = self.bio.tell()

    def add_msgtype(self, connection: Connection) -> None:
        """Declare a type; one without a definition gets an empty encoding."""
        if connection.msgdef.data:
            super().add_msgtype(connection)
        else:
            self.schemas.append(Schema(len(self.schemas) + 1, connection.msgtype, '', ''))
            write_schema(self.chunk.bio, self.schemas[-1])

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        """Declare a channel; its metadata holds what rosbag2 stores with a topic."""
        metadata = BytesIO()
        for text in (
            'offered_qos_profiles',
            offered_qos_profiles,
            TYPE_HASH_KEY,
            connection.digest,
        ):
            write_string(metadata, text)
        assert isinstance(connection.ext, ConnectionExtRosbag2)
        self.channels.append(
            Channel(
                connection.id,
                connection.msgtype,
                connection.topic,
                connection.ext.serialization_format,
                metadata.getvalue(),
            )
        )
        write_channel(self.chunk.bio, self.channels[-1], self.schemas)

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        """Append a message; raises OSError when a chunk is due and cannot be written."""
        chunk, body = self.chunk, self.chunk.bio
        if not chunk.msgs:
            self.flush_at = time.monotonic() + MAX_CHUNK_AGE
        offset = body.tell()
        head = MESSAGE.pack(MESSAGE_OP, len(data) + 22, connection.id, 0, timestamp, timestamp)
        body.write(b''.join((head, data)))
        chunk.msgs[connection.id].append((timestamp, offset))
        chunk.message_start_time = min(timestamp, chunk.message_start_time)
        chunk.message_end_time = max(timestamp, chunk.message_end_time)
        if body.tell() > MAX_CHUNK_SIZE or time.monotonic() >= self.flush_at:
            self.close_chunk()

    def close_chunk(self) -> None:
        """Write the pending chunk and its index, and hand them to the operating system."""
        chunk, begin = self.chunk, self.bio.tell()
        if not chunk.msgs:
            chunk.message_start_time = 0
        try:
            super().close_chunk()
            self.bio.flush()
        except OSError:
            self.chunk = chunk
            raise
        self.end = self.bio.tell()
        counts = {channel: len(messages) for channel, messages in chunk.msgs.items()}
        self.written.append(
            WrittenChunk(begin, self.end, chunk.message_start_time, chunk.message_end_time, counts)
        )

    def tally(self) -> tuple[int, int, dict[int, int]]:
        """Return first stamp, last stamp (ns) and messages per channel, pending ones included."""
        pending = {channel: len(messages) for channel, messages in self.chunk.msgs.items()}
        spans = [(chunk.first, chunk.last, chunk.counts) for chunk in self.written]
        spans.append((self.chunk.message_start_time, self.chunk.message_end_time, pending))
        totals = dict.fromkeys((channel.id for channel in self.channels), 0)
        for _, _, counts in spans:
            for channel, count in counts.items():
                totals[channel] += count
        filled = [span for span in spans if span[2]]
        first = min((span[0] for span in filled), default=0)
        return first, max((span[1] for span in filled), default=0), totals

    def finish(self, metadata: str) -> None:
        """End the file with its index and the bag's metadata; raises OSError."""
        self.message_start_time, self.message_end_time, self.channel_stats = self.tally()
        self.close(METADATA_VERSION, metadata)

    def end_early(self, save_metadata: Callable[[], str]) -> bool:
        """After a failed write, end the file with as much as fits; return whether it has an index.

        `save_metadata` writes the bag's metadata.yaml and returns its text.
        The pending chunk is tried once more; then the newest chunks are given up, one after
        another, until index and metadata have room. Where nothing helps the file keeps its whole
        chunks without an index, and `Reindexer` can end it later.
        """
        while True:
            with suppress(OSError):
                self.bio.close()
            del self.chunks[len(self.written) :]
            try:
                os.truncate(self.path, self.end)
                self.bio = self.path.open('ab')
                if self.chunk.bio.tell():
                    self.close_chunk()
                self.finish(save_metadata())
                return True
            except OSError:
                if self.chunk.bio.tell():
                    self.chunk = PendingChunk(NEVER, 0, BytesIO(), defaultdict(list))
                elif self.written:
                    self.end = self.written.pop().begin
                else:
                    with suppress(OSError):
                        self.bio.close()
                    return False


class UnfinishedMcapReader(McapReader):
    """Reads an MCAP file that has no end, up to its last whole record.

    `metadata_text` is the bag's metadata as the writer knew it at the start, as YAML.
    """

    metadata_text = ''

    def _open(self) -> None:
        assert self.bio
        size = self.bio.seek(0, os.SEEK_END)
        self.bio.seek(0)
        if self.bio.read(8) != MCAP_MAGIC:
            raise ReaderError(f'{self.path} is no MCAP file')
        chunks: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        while (begin := self.bio.tell()) + RECORD.size <= size:
            operation, length = RECORD.unpack(self.bio.read(RECORD.size))
            end = begin + RECORD.size + length
            if end > size or operation == DATA_END_OP:
                break
            if operation == 0x01:
                self.data_start = end
            elif operation == CHUNK_OP:
                chunks.append((begin, end, []))
            elif operation == INDEX_OP and chunks:
                channel, count = struct.unpack('<HI', self.bio.read(6))
                chunks[-1][2].append((channel, begin, count // 16))
            elif operation == METADATA_OP:
                self.bio.seek(begin + 1)
                record = BytesIO(read_sized(self.bio))
                if read_string(record) == 'rosbag2':
                    record.seek(4, os.SEEK_CUR)
                    read_string(record)
                    self.metadata_text = read_string(record)
            self.data_end = end
            self.bio.seek(end)
        if not self.data_start:
            raise ReaderError(f'{self.path} ends before its first record')
        self.meta_scan()
        self.chunks = [self._chunk(*chunk) for chunk in chunks]
        assert self.statistics
        counts = self.statistics.channel_message_counts
        self.connections = [
            connection._replace(
                msgcount=counts.get(connection.id, 0),
                digest=channel_metadata(self.channels[connection.id].metadata).get(
                    TYPE_HASH_KEY, ''
                ),
            )
            for connection in self.connections
        ]
        first, last = self.statistics.start_time, self.statistics.end_time
        if self.statistics.message_count:
            self.metadata = self.metadata._replace(
                duration=last - first + 1,
                start_time=first,
                end_time=last + 1,
                message_count=self.statistics.message_count,
            )

    def _chunk(self, begin: int, end: int, indexes: list[tuple[int, int, int]]) -> ChunkInfo:
        assert self.bio
        self.bio.seek(begin + RECORD.size)
        first, last, uncompressed, _ = CHUNK_HEAD.unpack(self.bio.read(CHUNK_HEAD.size))
        compression = read_string(self.bio)
        (compressed,) = struct.unpack('<Q', self.bio.read(8))
        counts = {channel: count for channel, _, count in indexes}
        if not indexes:
            # The index was cut off; the chunk may hold every channel.
            counts = {connection.id: 1 for connection in self.connections}
        return ChunkInfo(
            first,
            last,
            begin,
            end - begin,
            {channel: offset for channel, offset, _ in indexes},
            0,
            compression,
            compressed,
            uncompressed,
            counts,
        )


def channel_metadata(raw: bytes) -> dict[str, str]:
    """Return the texts that a channel record carries."""
    stream, texts = BytesIO(raw), {}
    while stream.tell() < len(raw):
        key = read_string(stream)
        texts[key] = read_string(stream)
    return texts


def is_finished(path: Path) -> bool:
    """Return whether the file ends as an MCAP file does."""
    with path.open('rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8))
        return file.read() == MCAP_MAGIC
