# SPDX-License-Identifier: Apache-2.0
"""`SequentialReader`: a bag's messages in the order in which they were received."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
import re
from typing import TYPE_CHECKING

from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import ReaderError

from rosbag2_py.bag_file import Info, open_bag
from rosbag2_py.message_definition import MessageDefinition
from rosbag2_py.metadata import BagMetadata, TopicMetadata
from rosbag2_py.options import (
    ConverterOptions,
    ReadOrder,
    ReadOrderSortBy,
    StorageFilter,
    StorageOptions,
)

if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader

ENCODINGS = {
    MessageDefinitionFormat.MSG: 'ros2msg',
    MessageDefinitionFormat.IDL: 'ros2idl',
    MessageDefinitionFormat.NONE: 'unknown',
}
Message = tuple[Connection, int, bytes]


class SequentialReader:
    """Reads one bag: `open`, then `read_next` while `has_next`."""

    def __init__(self) -> None:
        self._reader: Reader | None = None
        self._uri = ''
        self._filter = StorageFilter()
        self._messages: Iterator[Message] = iter(())
        self._next: Message | None = None
        # Where reading stands: the stamp read last, and what was read at exactly that stamp.
        self._stamp = 0
        self._read_at_stamp: Counter[str] = Counter()

    def open(self, storage_options: StorageOptions, converter_options: ConverterOptions) -> None:
        """Open a bag's folder, or one of its files; raises RuntimeError."""
        storage_options.refuse_unsupported()
        converter_options.refuse_unsupported()
        self.close()
        self._reader = open_bag(storage_options.uri)
        self._uri = storage_options.uri
        self._filter = StorageFilter()
        self.seek(0)

    def open_uri(self, uri: str) -> None:
        """Open a bag by its path alone."""
        self.open(StorageOptions(uri=uri), ConverterOptions())

    def close(self) -> None:
        """Close the bag; nothing happens where none is open."""
        if self._reader:
            self._messages, self._next = iter(()), None
            self._reader.close()
            self._reader = None

    def _require_open(self) -> Reader:
        if not self._reader:
            raise RuntimeError('Bag is not open. Call open() before reading.')
        return self._reader

    def set_read_order(self, order: ReadOrder) -> bool:
        """Take the one order that there is, received time forward; refuse the others."""
        self._require_open()
        if order.sort_by != ReadOrderSortBy.ReceivedTimestamp or order.reverse:
            raise RuntimeError(
                'this rosbag2_py reads by received time, forward, only; '
                f'not by {ReadOrderSortBy(order.sort_by).name}'
                + (' in reverse' if order.reverse else '')
            )
        return True

    def set_filter(self, storage_filter: StorageFilter) -> None:
        """Let only some topics pass from here on; the place in the bag stays."""
        self._require_open()
        self._filter = storage_filter
        self._restart()

    def reset_filter(self) -> None:
        """Let every topic pass from here on."""
        self.set_filter(StorageFilter())

    def seek(self, timestamp: int) -> None:
        """Go to the first message at or after `timestamp` (ns since the epoch)."""
        self._require_open()
        self._stamp, self._read_at_stamp = timestamp, Counter()
        self._restart()

    def _passes(self, topic: str) -> bool:
        wanted = self._filter
        if topic in wanted.exclude_topics or topic in wanted.exclude_service_events:
            return False
        if wanted.regex_to_exclude and re.search(wanted.regex_to_exclude, topic):
            return False
        if not (wanted.topics or wanted.services_events or wanted.regex):
            return True
        return (
            topic in wanted.topics
            or topic in wanted.services_events
            or bool(wanted.regex and re.search(wanted.regex, topic))
        )

    def _restart(self) -> None:
        reader = self._require_open()
        wanted = [item for item in reader.connections if self._passes(item.topic)]
        # An empty list would mean every topic to the reader underneath.
        self._messages = reader.messages(wanted, start=self._stamp) if wanted else iter(())
        skipped = self._read_at_stamp.copy()
        self._advance()
        while self._next and self._next[1] == self._stamp and skipped[self._next[0].topic]:
            skipped[self._next[0].topic] -= 1
            self._advance()

    def _advance(self) -> None:
        try:
            self._next = next(self._messages, None)
        except (ReaderError, OSError, ValueError) as error:
            self._next = None
            raise RuntimeError(f"the bag '{self._uri}' is damaged: {error}") from error

    def has_next(self) -> bool:
        """Return whether a message is left."""
        self._require_open()
        return self._next is not None

    def read_next(self) -> tuple[str, bytes, int]:
        """Return topic, serialized message and stamp (ns); raises RuntimeError at the end."""
        self._require_open()
        if self._next is None:
            raise RuntimeError('Bag is at end. No next message.')
        connection, stamp, data = self._next
        if stamp != self._stamp:
            self._stamp = stamp
            self._read_at_stamp.clear()
        self._read_at_stamp[connection.topic] += 1
        self._advance()
        return connection.topic, bytes(data), stamp

    def get_metadata(self) -> BagMetadata:
        """Return the bag's metadata."""
        self._require_open()
        return Info().read_metadata(self._uri)

    def get_all_topics_and_types(self) -> list[TopicMetadata]:
        """Return every topic of the bag, also those that a filter holds back."""
        return [topic.topic_metadata for topic in self.get_metadata().topics_with_message_count]

    def get_all_message_definitions(self) -> list[MessageDefinition]:
        """Return the definitions that the bag carries, one for each type."""
        definitions = {
            item.msgtype: MessageDefinition(
                item.msgtype, ENCODINGS[item.msgdef.format], item.msgdef.data, item.digest
            )
            for item in self._require_open().connections
        }
        return list(definitions.values())

    def __del__(self) -> None:
        with suppress(Exception):
            self.close()
