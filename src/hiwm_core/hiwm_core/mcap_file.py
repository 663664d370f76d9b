# SPDX-License-Identifier: Apache-2.0
"""An MCAP file as a row of records: its summary read, and a torn one written anew, whole.

The writer of a torn file was killed: it has no summary and may end within a record. `salvage`
copies its chunks byte by byte, up to the last whole one, and writes the indexes and the summary
that are missing. https://mcap.dev/spec describes the records.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
import os
from pathlib import Path
import struct
from typing import BinaryIO

from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_mcap import decompress, zstd

MAGIC = b'\x89MCAP0\r\n'
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, METADATA_INDEX, SUMMARY_OFFSET, DATA_END = range(0x0B, 0x10)
RECORD = struct.Struct('<BQ')
CHUNK_HEAD = struct.Struct('<QQQI')
MESSAGE_HEAD = struct.Struct('<HIQQ')
FOOTER_BODY = struct.Struct('<QQI')
STATISTICS_HEAD = struct.Struct('<QHIIIIQQI')
BAG_METADATA = 'rosbag2'


class McapError(ValueError):
    """The file is not an MCAP file, or damaged; the text says where."""


@dataclass
class Channel:
    """A topic of a file: its type, encoding and metadata (`offered_qos_profiles`, ...)."""

    topic: str
    type: str
    encoding: str
    metadata: dict[str, str]
    messages: int = 0


@dataclass
class McapSummary:
    """What a file holds.

    Attributes:
        channels: By the file's channel id.
        first: Stamp of the first message, ns since the Unix epoch; 0 without messages.
        last: The same of the last one.
        bag_metadata: The bag's metadata that rosbag2 stored in the file, as YAML; empty if none.
        end: Where the last whole record ends that was read.
        cut_bytes: What follows there.
    """

    channels: dict[int, Channel] = field(default_factory=dict)
    first: int = 0
    last: int = 0
    bag_metadata: str = ''
    end: int = 0
    cut_bytes: int = 0

    @property
    def messages(self) -> int:
        """In the whole file."""
        return sum(channel.messages for channel in self.channels.values())


def is_whole(path: Path) -> bool:
    """Whether a file ends as a finished MCAP file does, with a summary."""
    try:
        with path.open('rb') as file:
            return _summary_start(file) > 0
    except (OSError, McapError):
        return False


def read_summary(path: Path) -> McapSummary:
    """What a finished file says of itself at its end.

    Raises:
        McapError: It is not finished, or damaged.
        OSError: It cannot be read.
    """
    book = _Book()
    with path.open('rb') as file:
        try:
            file.seek(_summary_start(file))
            size = file.seek(0, os.SEEK_END)
            file.seek(_summary_start(file))
            statistics = b''
            for operation, _, body in _records(file, size):
                if operation == STATISTICS:
                    statistics = body
                elif operation == METADATA_INDEX:
                    offset, length = struct.unpack_from('<QQ', body)
                    here = file.tell()
                    file.seek(offset + RECORD.size)
                    book.note(METADATA, file.read(length - RECORD.size))
                    file.seek(here)
                else:
                    book.note(operation, body)
            _, _, _, _, _, _, first, last, length = STATISTICS_HEAD.unpack_from(statistics)
            for at in range(STATISTICS_HEAD.size, STATISTICS_HEAD.size + length, 10):
                channel, count = struct.unpack_from('<HQ', statistics, at)
                book.summary.channels[channel].messages = count
        except (struct.error, KeyError, UnicodeDecodeError, IndexError) as error:
            raise McapError(f'{path} is damaged: {error!r}') from error
    book.summary.first, book.summary.last = (first, last) if book.summary.messages else (0, 0)
    return book.summary


def salvage(source: Path, target: Path) -> McapSummary:
    """Write what is whole in a torn file into a new, finished one.

    A chunk that cannot be read ends the data, as the file's end does.

    Raises:
        McapError: Not even the file's header is whole.
        OSError: A file cannot be read or written; `target` may be there in part.
    """
    book = _Book()
    with source.open('rb') as torn, target.open('xb') as whole:
        size = torn.seek(0, os.SEEK_END)
        torn.seek(0)
        if torn.read(len(MAGIC)) != MAGIC:
            raise McapError(f'{source} is not an MCAP file, or torn in its first bytes')
        whole.write(MAGIC)
        end = torn.tell()
        for operation, head, body in _records(torn, size):
            if operation in (DATA_END, FOOTER):
                break
            # The message indexes are made anew from the chunks.
            if operation != MESSAGE_INDEX:
                try:
                    behind = book.take(operation, body, whole.tell())
                except (ReaderError, zstd.ZstdError, ValueError, struct.error, KeyError):
                    break
                whole.write(head)
                whole.write(body)
                whole.write(behind)
            end = torn.tell()
        if end == len(MAGIC):
            raise McapError(f'{source} is torn within its first record')
        book.summary.end, book.summary.cut_bytes = end, size - end
        book.write_end(whole)
        whole.flush()
        os.fsync(whole.fileno())
    return book.summary


class _Book:
    """What has been seen of a file, and the summary that follows from it."""

    def __init__(self) -> None:
        self.summary = McapSummary()
        self._types: dict[int, str] = {}
        self._schemas: dict[int, bytes] = {}
        self._channels: dict[int, bytes] = {}
        self._chunks: list[bytes] = []
        self._metadata: list[bytes] = []
        self._stamps: list[int] = []

    def take(self, operation: int, body: bytes, at: int) -> bytes:
        """A record of the data, at `at` in the target; returns what has to follow it there."""
        if operation == CHUNK:
            return self._chunk(body, at)
        self.note(operation, body, at)
        return b''

    def note(self, operation: int, body: bytes, at: int = 0) -> None:
        """A record outside of chunks, or a declaration in one; `at` is its place in the target."""
        if operation == SCHEMA:
            (number,) = struct.unpack_from('<H', body)
            self._types[number] = _string(body, 2)[0]
            self._schemas[number] = _record(SCHEMA, body)
        elif operation == CHANNEL:
            number, schema = struct.unpack_from('<HH', body)
            topic, next_at = _string(body, 4)
            encoding, next_at = _string(body, next_at)
            self.summary.channels.setdefault(
                number,
                Channel(topic, self._types.get(schema, ''), encoding, _text_map(body, next_at)),
            )
            self._channels[number] = _record(CHANNEL, body)
        elif operation == MESSAGE:
            channel, _, stamp, _ = MESSAGE_HEAD.unpack_from(body)
            self._count(channel, [stamp])
        elif operation == METADATA:
            name, next_at = _string(body, 0)
            text = _text_map(body, next_at).get('serialized_metadata', '')
            if name == BAG_METADATA and text:
                self.summary.bag_metadata = text
            entry = struct.pack('<QQ', at, RECORD.size + len(body)) + body[:next_at]
            self._metadata.append(_record(METADATA_INDEX, entry))

    def _chunk(self, body: bytes, at: int) -> bytes:
        """A chunk that begins at `at` in the target; returns the message indexes behind it."""
        first, last, size, crc = CHUNK_HEAD.unpack_from(body)
        compression, next_at = _string(body, CHUNK_HEAD.size)
        (length,) = struct.unpack_from('<Q', body, next_at)
        packed = body[next_at + 8 : next_at + 8 + length]
        content = decompress(packed, compression, size, crc)
        places: dict[int, list[int]] = {}
        offset = 0
        while offset < len(content):
            operation, inner = RECORD.unpack_from(content, offset)
            begin = offset + RECORD.size
            if begin + inner > len(content):
                raise McapError('a chunk ends within a record')
            if operation == MESSAGE:
                channel, _, stamp, _ = MESSAGE_HEAD.unpack_from(content, begin)
                places.setdefault(channel, []).extend((stamp, offset))
            else:
                self.note(operation, content[begin : begin + inner])
            offset = begin + inner
        if not places.keys() <= self.summary.channels.keys():
            raise McapError('a chunk holds a message of a channel that was never declared')
        for channel, pairs in places.items():
            self._count(channel, pairs[::2])
        end = at + RECORD.size + len(body)
        indexes, offsets = b'', b''
        for channel, pairs in places.items():
            offsets += struct.pack('<HQ', channel, end + len(indexes))
            indexes += _record(
                MESSAGE_INDEX, struct.pack(f'<HI{len(pairs)}Q', channel, 8 * len(pairs), *pairs)
            )
        self._chunks.append(
            _record(
                CHUNK_INDEX,
                struct.pack('<4QI', first, last, at, end - at, len(offsets))
                + offsets
                + struct.pack('<Q', len(indexes))
                + body[CHUNK_HEAD.size : next_at]
                + struct.pack('<QQ', length, size),
            )
        )
        return indexes

    def _count(self, channel: int, stamps: list[int]) -> None:
        summary = self.summary
        if not summary.messages:
            summary.first = summary.last = stamps[0]
        summary.first = min(summary.first, *stamps)
        summary.last = max(summary.last, *stamps)
        summary.channels[channel].messages += len(stamps)

    def write_end(self, file: BinaryIO) -> None:
        """The end of the data, the summary, its offsets and the footer."""
        file.write(_record(DATA_END, bytes(4)))
        begin = file.tell()
        counts = [(number, each.messages) for number, each in self.summary.channels.items()]
        statistics = STATISTICS_HEAD.pack(
            self.summary.messages,
            len(self._schemas),
            len(self._channels),
            0,
            len(self._metadata),
            len(self._chunks),
            self.summary.first,
            self.summary.last,
            10 * len(counts),
        ) + b''.join(struct.pack('<HQ', *count) for count in counts)
        offsets = b''
        for operation, records in (
            (SCHEMA, self._schemas.values()),
            (CHANNEL, self._channels.values()),
            (CHUNK_INDEX, self._chunks),
            (METADATA_INDEX, self._metadata),
            (STATISTICS, [_record(STATISTICS, statistics)]),
        ):
            part, at = b''.join(records), file.tell()
            file.write(part)
            if part:
                offsets += _record(SUMMARY_OFFSET, struct.pack('<BQQ', operation, at, len(part)))
        offsets_begin = file.tell()
        file.write(offsets)
        file.write(_record(FOOTER, FOOTER_BODY.pack(begin, offsets_begin, 0)))
        file.write(MAGIC)


def _records(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Operation, head and body of every record from here on that is whole."""
    while True:
        head = file.read(RECORD.size)
        if len(head) < RECORD.size:
            return
        operation, length = RECORD.unpack(head)
        if not operation or file.tell() + length > size:
            return
        yield operation, head, file.read(length)


def _summary_start(file: BinaryIO) -> int:
    """Where a finished file's summary begins."""
    length = RECORD.size + FOOTER_BODY.size + len(MAGIC)
    if file.seek(0, os.SEEK_END) < length + len(MAGIC):
        raise McapError('the file is too short')
    file.seek(-length, os.SEEK_END)
    data = file.read()
    operation, _ = RECORD.unpack_from(data)
    if not data.endswith(MAGIC) or operation != FOOTER:
        raise McapError('the file has no end')
    return int(FOOTER_BODY.unpack_from(data, RECORD.size)[0])


def _record(operation: int, body: bytes) -> bytes:
    return RECORD.pack(operation, len(body)) + body


def _string(body: bytes, at: int) -> tuple[str, int]:
    """A text, and where it ends."""
    (length,) = struct.unpack_from('<I', body, at)
    if at + 4 + length > len(body):
        raise McapError('a text is longer than its record')
    return body[at + 4 : at + 4 + length].decode(), at + 4 + length


def _text_map(body: bytes, at: int) -> dict[str, str]:
    (length,) = struct.unpack_from('<I', body, at)
    texts, at, end = {}, at + 4, at + 4 + length
    while at < end:
        key, at = _string(body, at)
        texts[key], at = _string(body, at)
    return texts
