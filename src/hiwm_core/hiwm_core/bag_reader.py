# SPDX-License-Identifier: Apache-2.0
"""Reading a bag with the `rosbags` library alone: message definitions come from the bag."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
import logging
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from hiwm_core.contract import Topic
from hiwm_core.error import ErrorCode, HiwmError

LOGGER = logging.getLogger(__name__)
METADATA_NAME = 'metadata.yaml'
ENCAPSULATION_BYTES = 4  # every message in CDR begins with so many that tell its byte order


class BagReader:
    """One bag open for reading; a context manager.

    Args:
        path: The bag's folder.

    Attributes:
        path: As given.
        custom_data: What the writer said of the bag.

    Raises:
        HiwmError: STORAGE_FAULT; there is no bag, it was never closed, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not (path / METADATA_NAME).is_file():
            raise HiwmError(
                f'{path} is not a finished bag: it has no {METADATA_NAME}. If its recorder was '
                f'killed, `ros2 run hiwm_intervention recover {path}` makes it whole',
                ErrorCode.STORAGE_FAULT,
            )
        self._decoders: dict[str, Callable[[bytes], Any]] = {}
        # A damaged file makes the library raise nearly anything: every error counts as damage.
        try:
            self._reader = Reader(path)
            self._reader.open()
            custom = self._reader.storage.metadata.custom  # type: ignore[attr-defined]
            self.custom_data = {str(key): str(value) for key, value in (custom or {}).items()}
        except Exception as error:
            raise self._damage(error) from error

    def counts(self) -> dict[str, int]:
        """Messages of each topic."""
        return {connection.topic: connection.msgcount for connection in self._reader.connections}

    def messages(self, topics: Iterable[Topic]) -> Iterator[tuple[str, Any]]:
        """Topic and decoded message, in the order of receipt.

        Topics that the bag does not hold are passed over. Raises HiwmError on damage.
        """
        for topic, data, _ in self.serialized(topics):
            yield topic, self.decode(topic, data)

    def serialized(self, topics: Iterable[Topic]) -> Iterator[tuple[str, bytes, int]]:
        """Topic, message in CDR and time of receipt (ns since the Unix epoch), in its order.

        Topics that the bag does not hold are passed over. Raises HiwmError on damage.
        """
        wanted = {topic.name for topic in topics}
        connections = [one for one in self._reader.connections if one.topic in wanted]
        if not connections:
            return
        try:
            stream = self._reader.messages(connections)
        except Exception as error:
            raise self._damage(error) from error
        while True:
            try:
                connection, stamp, data = next(stream)
            except StopIteration:
                return
            except Exception as error:
                raise self._damage(error) from error
            yield connection.topic, data, stamp

    def decode(self, topic: str, data: bytes) -> Any:
        """A message that `serialized` gave. Raises HiwmError on damage."""
        try:
            if topic not in self._decoders:
                one = next(one for one in self._reader.connections if one.topic == topic)
                self._decoders[topic] = _decoder(one.msgtype, one.msgdef.format, one.msgdef.data)
            return self._decoders[topic](data)
        except Exception as error:
            raise self._damage(error) from error

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _damage(self, error: Exception) -> HiwmError:
        detail = str(error) or type(error).__name__
        return HiwmError(f'the bag {self.path} is damaged: {detail}', ErrorCode.STORAGE_FAULT)


def find_bags(path: Path) -> list[Path]:
    """The bags in a folder: itself if it is one, else every one below it, sorted.

    A folder that holds a bag's file without its metadata counts as well, so that it can be named.

    Raises:
        HiwmError: There is no such folder, or no bag in it.
    """
    if not path.is_dir():
        what = f'{path} is not a folder' if path.exists() else f'there is no folder {path}'
        raise HiwmError(what, ErrorCode.STORAGE_FAULT)
    found = {
        file.parent
        for pattern in (METADATA_NAME, '*.mcap', '*.db3')
        for file in path.rglob(pattern)
    }
    if not found:
        raise HiwmError(f'there is no bag in {path}', ErrorCode.STORAGE_FAULT)
    return sorted(found)


def find_all_bags(paths: Iterable[Path]) -> list[Path]:
    """The bags in several folders, as `find_bags` finds them.

    What else a shell's `sessions/*` names, a file or a session without a bag, is named in a warning
    and skipped.

    Raises:
        HiwmError: One is not there at all, or none holds a bag.
    """
    found: list[Path] = []
    empty: list[HiwmError] = []
    for path in paths:
        try:
            found += find_bags(path)
        except HiwmError as error:
            if not path.exists():
                raise
            empty.append(error)
    if empty and not found:
        raise empty[0]
    for refusal in empty:
        LOGGER.warning('%s; it is skipped', refusal.message)
    return found


@lru_cache(maxsize=64)
def _decoder(kind: str, form: MessageDefinitionFormat, definition: str) -> Callable[[bytes], Any]:
    """What decodes messages of one type; parsing a definition is slow, and many bags share one."""
    store = get_typestore(Stores.EMPTY)
    if form == MessageDefinitionFormat.IDL:
        store.register(get_types_from_idl(definition))
    elif form == MessageDefinitionFormat.MSG:
        store.register(get_types_from_msg(definition, kind))
    else:
        raise ValueError(f'it holds no definition of {kind}')
    generated = store.get_msgdef(kind)

    def decode(data: bytes) -> Any:
        # Not `store.deserialize_cdr`: that refuses bytes after the message's end, which rclpy's
        # serialize_message leaves there where it guessed the size too large.
        read = generated.deserialize_cdr_le if data[1] else generated.deserialize_cdr_be
        message, _ = read(memoryview(data)[ENCAPSULATION_BYTES:], 0, generated.cls, store)
        return message

    return decode
