# SPDX-License-Identifier: Apache-2.0
"""An append-only file of records that survives a kill at any moment.

Layout: the 8-byte magic, then records. A record is a little-endian header of two unsigned 32-bit
numbers, the payload's length and the CRC-32 of that length and the payload, and then the payload.
(The length is in the sum because a disk may leave zeros behind a crash, and eight zeros would
otherwise be a sound, empty record.) Records go past Python's buffers, so that whatever a caller was
told is written is with the operating system. When the file is opened again, it is cut after its
last whole record; the bytes behind that are kept beside it, in `<name>.cut-1`, `.cut-2` and so on,
since more than a torn tail is damage that a person may want to look at. One process has a journal
at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
import struct
import zlib

from hiwm_core.error import ErrorCode, HiwmError

MAGIC = b'HIWMLOG1'
HEADER = struct.Struct('<II')
LOGGER = logging.getLogger(__name__)


class Journal:
    """The records of one file.

    Args:
        path: Opened if it is there, made otherwise (with its folder).

    Raises:
        HiwmError: STORAGE_FAULT: the file cannot be opened or written, is in use, or is not a
            journal.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offsets: list[int] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise self._fault('opened', error) from error
        try:
            self._lock()
            self._end = self._scan()
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
        record = HEADER.pack(len(payload), _checksum(payload)) + payload
        try:
            self._write(record, self._end)
        except OSError as error:
            # Where even this fails, the next opening cuts the torn record.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise self._fault('written', error) from error
        self.offsets.append(self._end)
        self._end += len(record)
        return len(self.offsets) - 1

    def read(self, number: int) -> bytes:
        """The payload of one record. Raises HiwmError if the disk gives back something else."""
        try:
            payload = self._payload(self.offsets[number])
        except OSError as error:
            raise self._fault('read', error) from error
        if payload is None:
            raise HiwmError(
                f'record {number} of {self.path} is damaged on disk', ErrorCode.STORAGE_FAULT
            )
        return payload

    def __len__(self) -> int:
        return len(self.offsets)

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
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:] if written else data, offset + written)

    def _payload(self, offset: int) -> bytes | None:
        """The payload of the record at an offset; None if it is torn or damaged."""
        header = os.pread(self._file, HEADER.size, offset)
        if len(header) < HEADER.size:
            return None
        length, checksum = HEADER.unpack(header)
        if offset + HEADER.size + length > os.fstat(self._file).st_size:
            return None
        payload = os.pread(self._file, length, offset + HEADER.size)
        return payload if _checksum(payload) == checksum else None

    def _scan(self) -> int:
        size = os.fstat(self._file).st_size
        start = os.pread(self._file, len(MAGIC), 0)
        if start != MAGIC[: len(start)]:
            raise HiwmError(
                f'{self.path} is not a journal of this program; '
                'move it away or choose another folder',
                ErrorCode.STORAGE_FAULT,
            )
        if len(start) < len(MAGIC):
            # New, or a kill between making the file and its first write.
            self._write(MAGIC, 0)
            return len(MAGIC)
        end = len(MAGIC)
        while (payload := self._payload(end)) is not None:
            self.offsets.append(end)
            end += HEADER.size + len(payload)
        if end < size:
            kept = self._keep(end, size)
            os.ftruncate(self._file, end)
            LOGGER.warning(
                '%s ended in %d damaged bytes; it was cut after its last whole record (%d records) '
                'and the bytes are kept in %s',
                self.path,
                size - end,
                len(self.offsets),
                kept,
            )
        return end

    def _keep(self, begin: int, end: int) -> Path:
        """Copy a range of bytes to a new file beside the journal."""
        number = 1
        while (kept := self.path.with_name(f'{self.path.name}.cut-{number}')).exists():
            number += 1
        partial = kept.with_name(f'{kept.name}.partial')
        with partial.open('wb') as copy:
            while begin < end:
                chunk = os.pread(self._file, min(end - begin, 1 << 20), begin)
                if not chunk:
                    break
                copy.write(chunk)
                begin += len(chunk)
        return partial.rename(kept)

    def _fault(self, verb: str, error: OSError) -> HiwmError:
        return HiwmError(
            f'{self.path} could not be {verb}: {error.strerror}; '
            'check the folder and the space on its disk',
            ErrorCode.STORAGE_FAULT,
        )


def _checksum(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(struct.pack('<I', len(payload))))
