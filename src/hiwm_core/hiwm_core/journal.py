# SPDX-License-Identifier: Apache-2.0
"""An append-only file of records that survives a kill at any moment.

Layout: the 8-byte magic, then records. A record is a 4-byte mark, two little-endian unsigned 32-bit
numbers (the payload's length and its CRC-32) and the payload.
Records go past Python's buffers, so that whatever a caller was told is written is with the
operating system. One process has a journal at a time.

What a crash leaves is told apart from other damage when the file is opened again:

- The tail: damage that no whole record follows, or that lies within the last `TAIL_BYTES`. A kill
  tears the last record; a machine that loses its power may leave holes further up, since the
  system writes pages in any order. The file is cut after the last whole record before the damage,
  with a warning, and the bytes from there on are kept in `<name>.cut-1`, `.cut-2` and so on.
- The middle: whole records follow, found by their marks. Something else damaged this file, and a
  person decides: it is refused, and left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import fcntl
import logging
import os
from pathlib import Path
import shlex
import struct
import zlib

from hiwm_core.column import Column
from hiwm_core.error import ErrorCode, HiwmError

MAGIC = b'HIWMLOG2'
MARK = b'\xa7rec'
HEADER = struct.Struct('<4sII')
TAIL_BYTES = 65_536
BLOCK_BYTES = 1 << 22
LOGGER = logging.getLogger(__name__)


class Journal:
    """The records of one file.

    Args:
        path: Opened if it is there, made otherwise (with its folder).
        take: Called with the number and the payload of each record that is there, in order. What
            it raises leaves the file as it is.

    Raises:
        HiwmError: STORAGE_FAULT: the file cannot be opened or written, is in use, is not a
            journal, or is damaged in its middle.
    """

    def __init__(self, path: Path, take: Callable[[int, bytes], None] | None = None) -> None:
        self.path = path
        self._offsets = Column('Q')
        self._block = b''
        self._block_start = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._fault('opened', error) from error
        try:
            self._lock()
            self._end = self._scan(take)
        except OSError as error:
            self.close()
            raise self._fault('opened', error) from error
        except HiwmError:
            self.close()
            raise

    def append(self, payload: bytes) -> int:
        """Write one record; returns its number.

        Raises:
            HiwmError: STORAGE_FAULT; the file still ends with its last whole record.
        """
        record = HEADER.pack(MARK, len(payload), zlib.crc32(payload)) + payload
        try:
            self._write(record, self._end)
        except OSError as error:
            # Where even this fails, the next opening cuts the torn record.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise self._fault('written', error) from error
        self._offsets.append(self._end)
        self._end += len(record)
        return len(self._offsets) - 1

    def read(self, number: int) -> bytes:
        """The payload of one record. Raises HiwmError if the disk gives back something else."""
        begin = self._offsets[number]
        end = self._offsets[number + 1] if number + 1 < len(self._offsets) else self._end
        try:
            payload = _payload(self._read(begin, end - begin))
        except OSError as error:
            raise self._fault('read', error) from error
        if payload is None:
            raise HiwmError(
                f'record {number} of {self.path} is damaged on disk', ErrorCode.STORAGE_FAULT
            )
        return payload

    def __len__(self) -> int:
        return len(self._offsets)

    def close(self) -> None:
        """Close the file; reading and writing are refused afterwards."""
        if self._file >= 0:
            os.close(self._file)
            # The number may soon be another file's, which a late caller must not write into.
            self._file = -1

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HiwmError(
                f'{self.path} is in use by another session; end that one or choose another folder',
                ErrorCode.STORAGE_FAULT,
            ) from None
        except OSError as error:
            LOGGER.warning('%s cannot be locked against a second session: %s', self.path, error)

    def _write(self, data: bytes, offset: int) -> None:
        """All of `data`; a second call after a short write tells why it was short."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file, view, offset)
            view, offset = view[written:], offset + written

    def _read(self, offset: int, length: int) -> bytes:
        """So many bytes, or fewer at the end of the file alone."""
        data = os.pread(self._file, length, offset)
        while len(data) < length:
            more = os.pread(self._file, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    # -- opening ---------------------------------------------------------------------------------

    def _scan(self, take: Callable[[int, bytes], None] | None) -> int:
        """Find every record; returns where the next one goes."""
        size = os.fstat(self._file).st_size
        start = self._read(0, len(MAGIC))
        if start != MAGIC[: len(start)]:
            raise HiwmError(
                f'{self.path} is not a journal of this version of the program; '
                'move it away or choose another folder',
                ErrorCode.STORAGE_FAULT,
            )
        if len(start) < len(MAGIC):
            # New, or a kill between making the file and its first write.
            self._write(MAGIC, 0)
            return len(MAGIC)
        end = len(MAGIC)
        while (payload := self._sound(end, size)) is not None:
            if take is not None:
                take(len(self._offsets), payload)
            self._offsets.append(end)
            end += HEADER.size + len(payload)
        if end < size:
            if size - end > TAIL_BYTES and self._sound_follows(end, size):
                raise HiwmError(
                    f'{self.path} is damaged at byte {end} and goes on behind it; nothing was '
                    'changed; restore it from a copy, or make one and give up what follows the '
                    f"damage with 'truncate -s {end} {shlex.quote(str(self.path))}'",
                    ErrorCode.STORAGE_FAULT,
                )
            self._cut(end, size)
        self._block = b''
        return end

    def _sound(self, offset: int, size: int) -> bytes | None:
        """The payload of the record at an offset; None if there is none, or it is damaged."""
        header = self._ahead(offset, HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MARK):
            return None
        length = HEADER.size + HEADER.unpack(header)[1]
        return _payload(self._ahead(offset, length)) if offset + length <= size else None

    def _ahead(self, offset: int, length: int) -> bytes:
        """Like `_read`, for reading on and on: a whole block comes from the file at once."""
        begin = offset - self._block_start
        if begin < 0 or begin + length > len(self._block):
            self._block = self._read(offset, max(length, BLOCK_BYTES))
            self._block_start, begin = offset, 0
        return self._block[begin : begin + length]

    def _sound_follows(self, offset: int, size: int) -> bool:
        """Whether a whole record begins anywhere behind an offset."""
        offset += 1
        while offset < size:
            block = self._read(offset, BLOCK_BYTES)
            place = block.find(MARK)
            while place >= 0:
                if self._sound(offset + place, size) is not None:
                    return True
                place = block.find(MARK, place + 1)
            # A mark may lie across two blocks.
            offset += max(1, len(block) - len(MARK) + 1)
        return False

    def _cut(self, end: int, size: int) -> None:
        kept = self._keep(end, size)
        os.ftruncate(self._file, end)
        LOGGER.warning(
            '%s ended in %d damaged bytes; it was cut after its last whole record (%d records) '
            'and the bytes are kept in %s',
            self.path,
            size - end,
            len(self._offsets),
            kept,
        )

    def _keep(self, begin: int, end: int) -> Path:
        """Copy a range of bytes to a new file beside the journal."""
        number = 1
        while (kept := self.path.with_name(f'{self.path.name}.cut-{number}')).exists():
            number += 1
        partial = kept.with_name(f'{kept.name}.partial')
        try:
            with partial.open('wb') as copy:
                for offset in range(begin, end, BLOCK_BYTES):
                    copy.write(self._read(offset, min(end - offset, BLOCK_BYTES)))
            return partial.rename(kept)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _fault(self, verb: str, error: OSError) -> HiwmError:
        return HiwmError(
            f'{self.path} could not be {verb}: {error.strerror}; '
            'check the folder and the space on its disk',
            ErrorCode.STORAGE_FAULT,
        )


def _payload(record: bytes) -> bytes | None:
    """The payload of a whole record; None if it is torn or damaged."""
    if len(record) < HEADER.size:
        return None
    mark, length, checksum = HEADER.unpack_from(record)
    payload = record[HEADER.size :]
    sound = mark == MARK and length == len(payload) and checksum == zlib.crc32(payload)
    return payload if sound else None
