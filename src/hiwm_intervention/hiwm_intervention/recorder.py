# SPDX-License-Identifier: Apache-2.0
"""A bag with a thread of its own: whoever brings messages never waits for the disk.

Messages are queued as they are and written in order. What cannot be written is a fault: it is kept
as one sentence, the bag is closed with what it holds, and from then on nothing is taken. Nothing is
ever dropped to keep up; a queue that overflows is a fault as well. While it goes on, a mark beside
the bag says that it does and how far it is (`hiwm_core.live_mark`): whoever finds the mark without
its holder knows that the recorder was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
import queue
import subprocess
import threading
import time

import hiwm_core
from hiwm_core.bag_reader import METADATA_NAME
from hiwm_core.contract import Topic
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.live_mark import LiveMark
from hiwm_core.session_bag import SessionBag, free_bytes, prepare_folder

MEGABYTE = 1_000_000
QUEUE_BYTES = 256 * MEGABYTE
DISK_CHECK_PERIOD = 0.5  # s
MARK_PERIOD = 0.1  # s
MODEL_SUFFIX = '.safetensors'


class Recorder:
    """One recording.

    Args:
        folder: The bag's folder; it must not exist.
        topics: What will be recorded.
        custom_data: For the bag's metadata.
        min_free_bytes: With less than this left on the disk nothing begins, and what runs stops.
        max_file_bytes: After so many the bag goes on in another file; 0: it has one.
        queue_bytes: How much may wait for the disk.
        written: Told of every message that is in the bag, by the thread that wrote it.
        measure_free: Free bytes on the disk of a folder.

    Raises:
        HiwmError: STORAGE_FAULT, with a sentence.
    """

    def __init__(
        self,
        folder: Path,
        topics: Sequence[Topic],
        custom_data: Mapping[str, str],
        *,
        min_free_bytes: int,
        max_file_bytes: int = 0,
        queue_bytes: int = QUEUE_BYTES,
        written: Callable[[str, bytes, int], None] = lambda topic, data, time_ns: None,
        measure_free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self.folder = folder
        self._min_free = min_free_bytes
        self._queue_bytes = queue_bytes
        self._measure_free = measure_free
        self._written = written
        self._fault = ''
        self._waiting_bytes = 0
        self._closing = False
        self._queue: queue.SimpleQueue[tuple[str, bytes, int] | None] = queue.SimpleQueue()
        prepare_folder(folder)
        self._free = self._check_free(folder.parent)
        self._mark = LiveMark(folder)
        try:
            self._bag = SessionBag(folder, topics, custom_data, max_file_bytes=max_file_bytes)
        except HiwmError:
            self._mark.remove()
            raise
        self._guard = threading.Lock()
        self._thread = threading.Thread(target=self._write, name='bag writer', daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str:
        """Why the recording ended; empty while it goes on."""
        return self._fault

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closing

    @property
    def messages(self) -> int:
        """Written so far."""
        return self._bag.messages

    @property
    def written_bytes(self) -> int:
        """Serialized bytes written so far."""
        return self._bag.written_bytes

    @property
    def free_bytes(self) -> int:
        """Left on the disk when it was last looked at."""
        return self._free

    @property
    def waiting_bytes(self) -> int:
        """Taken and not written yet."""
        return self._waiting_bytes

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """Record a message in CDR, received at `time_ns` (ns since the epoch). Never waits."""
        with self._guard:
            if self._fault or self._closing:
                return
            if self._waiting_bytes + len(data) <= self._queue_bytes:
                self._waiting_bytes += len(data)
                self._queue.put((topic, data, time_ns))
                return
            self._fault = (
                f'the disk of {self.folder} is too slow: {self._waiting_bytes // MEGABYTE} MB wait '
                'to be written'
            )
            self._queue.put(None)

    def close(self) -> str:
        """Write what waits, close the bag; returns the fault, if any."""
        with self._guard:
            already, self._closing = self._closing, True
        if not already:
            self._queue.put(None)
        self._thread.join()
        return self._fault

    def _write(self) -> None:
        marked = looked = time.monotonic()
        try:
            while True:
                try:
                    entry = self._queue.get(timeout=MARK_PERIOD)
                except queue.Empty:
                    pass
                else:
                    if entry is None:
                        break
                    self._bag.write(*entry)
                    with self._guard:
                        self._waiting_bytes -= len(entry[1])
                    self._written(*entry)
                now = time.monotonic()
                if now - marked >= MARK_PERIOD:
                    marked = now
                    with suppress(OSError):
                        self._mark.update(self._bag.messages)
                if now - looked >= DISK_CHECK_PERIOD and not self._fault:
                    looked = now
                    self._look_at_disk()
        except HiwmError as error:
            self._fail(error.message)
        try:
            self._bag.close()
        except HiwmError as error:
            self._fail(error.message)
        if (self.folder / METADATA_NAME).is_file():
            self._mark.remove()
        else:
            self._mark.release()

    def _look_at_disk(self) -> None:
        """A disk that fills up ends the recording while there is room for all that was taken."""
        try:
            self._free = self._check_free(self.folder)
        except HiwmError as error:
            self._fail(error.message)
            self._queue.put(None)

    def _fail(self, sentence: str) -> None:
        """The first sentence counts: what follows from it tells nobody anything."""
        with self._guard:
            self._fault = self._fault or sentence

    def _check_free(self, folder: Path) -> int:
        free = self._measure_free(folder)
        if free < self._min_free:
            raise HiwmError(
                f'the disk that holds {folder} has {free // MEGABYTE} MB left, less than the '
                f'{self._min_free // MEGABYTE} MB of min_free_mb; free some space',
                ErrorCode.STORAGE_FAULT,
            )
        return free


def free_bag(session: Path) -> Path:
    """A folder for a bag in a session's folder: `bag`, or `bag-2` and so on if it goes on."""
    folder, number = session / 'bag', 1
    while folder.exists():
        number += 1
        folder = session / f'bag-{number}'
    return folder


def describe_session(
    *, session: str, task: str, operator_id: str, models: Mapping[str, Path | None]
) -> dict[str, str]:
    """The custom data of a session's bag.

    Args:
        session: Its name.
        task: Its task's name.
        operator_id: Who operates; may be empty.
        models: Folders or files of weights by role; the SHA-256 of what is there is added.
    """
    data = {'kind': 'session', 'session': session, 'task': task, 'hiwm_version': _version()}
    revision = _git_revision()
    if revision:
        data['git_revision'] = revision
    if operator_id:
        data['operator_id'] = operator_id
    for role, path in models.items():
        if path is None:
            continue
        data[role] = str(path)
        digest = _digest(path)
        if digest:
            data[f'{role}_sha256'] = digest
    return data


def _version() -> str:
    try:
        return version('hiwm_core')
    except PackageNotFoundError:
        return 'unknown'


def _git_revision() -> str:
    """The commit that this code comes from, with '-dirty' if it was changed; empty if unknown."""
    try:
        done = subprocess.run(
            ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
            cwd=Path(hiwm_core.__file__).resolve().parent,
            capture_output=True,
            text=True,
            timeout=5.0,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    return done.stdout.strip() if done.returncode == 0 else ''


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the weights in a folder by name; empty if there are none."""
    try:
        files = sorted(path.glob(f'*{MODEL_SUFFIX}')) if path.is_dir() else [path]
        if not files:
            return ''
        digest = hashlib.sha256()
        for file in files:
            digest.update(file.read_bytes())
    except OSError:
        return ''
    return digest.hexdigest()
