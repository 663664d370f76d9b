# SPDX-License-Identifier: Apache-2.0
"""The mark of a bag that is being recorded: who holds it, and how far the recording is.

It lies beside the bag as `.BAG.live`, and its holder keeps a lock on it that the kernel lets go
when the process ends, however it ends. A mark without a holder therefore means that a recorder was
killed, and says what it had taken until then.
"""

from __future__ import annotations

from contextlib import suppress
import fcntl
import os
from pathlib import Path
import time

from hiwm_core.error import ErrorCode, HiwmError

TRIES = 10
TRY_PERIOD = 0.05  # s


class BeingRecordedError(HiwmError):
    """A recorder that lives holds the bag's mark."""


class LiveMark:
    """The mark of one bag, held by this process until `remove` or `release`.

    Args:
        bag: The bag's folder; it need not exist.

    Attributes:
        bag: As given.

    Raises:
        BeingRecordedError: Another process holds it.
        HiwmError: STORAGE_FAULT: it cannot be written.
    """

    def __init__(self, bag: Path) -> None:
        self.bag = bag
        self._path = mark_path(bag)
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HiwmError(
                f'{self._path} cannot be written ({error.strerror})', ErrorCode.STORAGE_FAULT
            ) from error
        # Somebody may be looking whether it is held, which takes a moment.
        tries = TRIES
        while not _lock(self._file):
            tries -= 1
            if not tries:
                os.close(self._file)
                raise BeingRecordedError(
                    f'{bag} is being recorded by another process', ErrorCode.STORAGE_FAULT
                )
            time.sleep(TRY_PERIOD)

    def update(self, messages: int) -> None:
        """So many messages have been taken by now. Raises OSError."""
        os.pwrite(self._file, f'{time.time_ns():020d} {messages:020d}\n'.encode(), 0)

    def read(self) -> tuple[int, int] | None:
        """When `update` was called last (ns since the Unix epoch), with how many messages."""
        try:
            stamp, messages = os.pread(self._file, 64, 0).decode().split()
            return int(stamp), int(messages)
        except (OSError, ValueError):
            return None

    def remove(self) -> None:
        """The bag is finished."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of the mark and leave it there."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def mark_path(bag: Path) -> Path:
    """Where the mark of a bag lies."""
    return bag.with_name(f'.{bag.name}.live')


def is_held(bag: Path) -> bool:
    """Whether a process that lives holds the mark of a bag."""
    try:
        file = os.open(mark_path(bag), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(file)
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    """Lock an open file; returns whether nobody else holds it.

    On a file system without locks nobody does: the mark alone has to do.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True
