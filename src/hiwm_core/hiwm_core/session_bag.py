# SPDX-License-Identifier: Apache-2.0
"""Writing one bag: serialized messages of the contract's topics into a rosbag2 folder (MCAP).

The bag carries the message definitions and every topic's quality of service, so that it decodes and
plays without this workspace. It is complete once `close` has returned: `metadata.yaml` comes last.
What a process that is killed loses is its last chunks, so they are small (`mcap_writer.yaml`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import shutil
from types import TracebackType
from typing import Any, Self

from hiwm_core.contract import Quality, Topic
from hiwm_core.error import ErrorCode, HiwmError

# A bag of one empty chunk, its definitions and its metadata fits in this; less is a full disk.
LEAST_FREE_BYTES = 1_000_000
WRITER_OPTIONS = Path(__file__).with_name('mcap_writer.yaml')


class SessionBag:
    """One bag open for writing.

    Args:
        folder: The bag's folder. It must not exist; its parents are made.
        topics: Every topic that will be written.
        custom_data: Stored in the bag's metadata: `kind`, `task`, `session`, ...
        max_file_bytes: After so many the bag goes on in another file; 0: it has one.

    Attributes:
        folder: As given.
        messages: Written so far.
        written_bytes: Serialized bytes written so far, before compression.

    Raises:
        HiwmError: STORAGE_FAULT, with a sentence that names the folder.
    """

    def __init__(
        self,
        folder: Path,
        topics: Sequence[Topic],
        custom_data: Mapping[str, str],
        *,
        max_file_bytes: int = 0,
    ) -> None:
        self.folder = folder
        self.messages = 0
        self.written_bytes = 0
        self._writer: Any = None
        prepare_folder(folder)
        # Imported here because reading episodes must work where rosbag2 is not installed.
        try:
            from rosbag2_py import (  # noqa: PLC0415
                ConverterOptions,
                SequentialWriter,
                StorageOptions,
                TopicMetadata,
            )
        except ImportError as error:
            raise HiwmError(
                f'{folder} cannot be recorded: rosbag2_py cannot be imported ({error})',
                ErrorCode.STORAGE_FAULT,
            ) from error
        writer = SequentialWriter()
        try:
            writer.open(
                StorageOptions(
                    uri=str(folder),
                    storage_id='mcap',
                    max_bagfile_size=max_file_bytes,
                    storage_preset_profile='zstd_fast',
                    storage_config_uri=str(WRITER_OPTIONS),
                    custom_data=dict(custom_data),
                ),
                ConverterOptions('', ''),
            )
            for topic in topics:
                writer.create_topic(
                    TopicMetadata(
                        id=0,
                        name=topic.name,
                        type=topic.type,
                        serialization_format='cdr',
                        offered_qos_profiles=[_profile_of(topic.quality)],
                    )
                )
        except (RuntimeError, OSError) as error:
            raise self._fault('could not be made', error) from error
        self._writer = writer

    def write(self, topic: str, data: bytes, time_ns: int) -> None:
        """Append one message.

        Args:
            topic: One of the topics given to the constructor.
            data: The message in CDR, as the middleware delivered it.
            time_ns: When it was received, nanoseconds since the Unix epoch.

        Raises:
            HiwmError: STORAGE_FAULT; the bag is closed already, or the disk refused.
        """
        if self._writer is None:
            raise HiwmError(f'the bag {self.folder} is closed', ErrorCode.STORAGE_FAULT)
        try:
            self._writer.write(topic, data, time_ns)
        except (RuntimeError, OSError, KeyError) as error:
            raise self._fault(f'could not take a message of {topic}', error) from error
        self.messages += 1
        self.written_bytes += len(data)

    def close(self) -> None:
        """Write index and metadata. Closing twice does nothing. Raises HiwmError(STORAGE_FAULT)."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except (RuntimeError, OSError) as error:
            raise self._fault('could not be closed', error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _fault(self, what: str, error: Exception) -> HiwmError:
        return HiwmError(f'the bag {self.folder} {what}: {error}', ErrorCode.STORAGE_FAULT)


def prepare_folder(folder: Path) -> None:
    """Make the parents of a new bag's folder and check that a bag can be written there.

    Raises:
        HiwmError: STORAGE_FAULT; the folder exists, cannot be written, or its disk is full.
    """
    if folder.exists() or folder.is_symlink():
        raise HiwmError(
            f'{folder} exists already and is not overwritten; name another session or folder',
            ErrorCode.STORAGE_FAULT,
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HiwmError(
            f'the folder {folder.parent} cannot be made ({error.strerror}); '
            'name a folder that you may write to',
            ErrorCode.STORAGE_FAULT,
        ) from error
    if not os.access(folder.parent, os.W_OK | os.X_OK):
        raise HiwmError(
            f'the folder {folder.parent} cannot be written to; name one that you may write to',
            ErrorCode.STORAGE_FAULT,
        )
    if free_bytes(folder.parent) < LEAST_FREE_BYTES:
        raise HiwmError(
            f'the disk that holds {folder.parent} is full; free some space or name another folder',
            ErrorCode.STORAGE_FAULT,
        )


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk that holds an existing folder."""
    try:
        return shutil.disk_usage(folder).free
    except OSError as error:
        raise HiwmError(
            f'the disk that holds {folder} cannot be asked for its free space: {error.strerror}',
            ErrorCode.STORAGE_FAULT,
        ) from error


def _profile_of(quality: Quality) -> Any:
    from rosbag2_py._storage import QoS  # noqa: PLC0415

    profile = QoS(quality.depth).keep_last(quality.depth)
    profile = profile.reliable() if quality.reliable else profile.best_effort()
    return profile.transient_local() if quality.latched else profile.durability_volatile()
