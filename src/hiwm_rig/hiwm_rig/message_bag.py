# SPDX-License-Identifier: Apache-2.0
"""A bag that messages are put into without a graph: what a rig would have published."""

from __future__ import annotations

from functools import cache
from typing import Any

from rclpy.serialization import serialize_message
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from hiwm_core.contract import Topic
from hiwm_core.session_bag import SessionBag

ENCAPSULATION_BYTES = 4


class MessageBag(SessionBag):
    """A `SessionBag` that serializes."""

    def put(self, topic: Topic, message: Any, time_ns: int) -> None:
        """Append one message.

        Args:
            topic: One of the topics given to the constructor.
            message: Of its type.
            time_ns: When it was received, nanoseconds since the Unix epoch.

        Raises:
            HiwmError: STORAGE_FAULT; the bag is closed already, or the disk refused.
        """
        data = serialize_message(message)
        if _ends_empty(message):
            data = _trimmed(topic.type, data)
        self.write(topic.name, data, time_ns)


def _ends_empty(message: Any) -> bool:
    """Whether its last field is a sequence without elements."""
    name, kind = list(message.get_fields_and_field_types().items())[-1]
    return kind.startswith('sequence<') and not len(getattr(message, name))


def _trimmed(kind: str, data: bytes) -> bytes:
    """A message in CDR without the bytes after its end; only types that come with ROS are cut.

    serialize_message reserves room to align the elements of sequences, and leaves what an empty
    last sequence does not need: strict readers refuse it.
    """
    store = _store()
    if kind not in store.types:
        return data
    definition = store.get_msgdef(kind)
    _, end = definition.deserialize_cdr_le(
        memoryview(data)[ENCAPSULATION_BYTES:], 0, definition.cls, store
    )
    return bytes(data[: ENCAPSULATION_BYTES + end])


@cache
def _store() -> Typestore:
    return get_typestore(Stores.ROS2_JAZZY)
