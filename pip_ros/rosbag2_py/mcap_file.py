# SPDX-License-Identifier: Apache-2.0
"""Reading an MCAP file whose writer was killed: it has no end, and is read to its last record."""

from __future__ import annotations

import fcntl
from io import BytesIO
import os
from pathlib import Path
import struct

from rosbags.rosbag2 import ReaderError
from rosbags.rosbag2.storage_mcap import ChunkInfo, McapReader, read_sized, read_string

from rosbag2_py.mcap_writer import (
    CHUNK_HEAD,
    CHUNK_OP,
    DATA_END_OP,
    HEADER_OP,
    INDEX_OP,
    MCAP_MAGIC,
    METADATA_OP,
    RECORD,
    TYPE_HASH_KEY,
)


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
            raise ReaderError(f'{self.path} is not an MCAP file')
        chunks: list[tuple[int, int, list[tuple[int, int, int]]]] = []
        while (begin := self.bio.tell()) + RECORD.size <= size:
            operation, length = RECORD.unpack(self.bio.read(RECORD.size))
            end = begin + RECORD.size + length
            if end > size or operation == DATA_END_OP:
                break
            if operation == HEADER_OP:
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


def is_being_written(path: Path) -> bool:
    """Return whether a writer of this library has the file open, in whatever process."""
    with path.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            # A file system without locks cannot tell.
            return False
    return False
