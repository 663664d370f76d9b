# SPDX-License-Identifier: Apache-2.0
"""Message definitions and type hashes of the installed packages, as a bag stores them.

A definition is the text of the `.msg` file followed by those of every type that it contains, each
after a line of 80 `=` and a line `MSG: package/Name`. The hash is the one that rosidl computed when
it built the package; it lies beside the `.msg` file in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
import json
from pathlib import Path
import sys

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

SEPARATOR = '=' * 80


@dataclass
class MessageDefinition:
    """The definition of one type; `encoding` is 'ros2msg', or 'unknown' with an empty text."""

    topic_type: str
    encoding: str
    encoded_message_definition: str
    type_hash: str


def _interface_file(type_name: str, suffix: str) -> Path:
    package, _, rest = type_name.partition('/')
    return Path(get_package_share_directory(package)) / f'{rest}{suffix}'


@cache
def find_definition(type_name: str) -> MessageDefinition:
    """Return the definition of a message type such as 'std_msgs/msg/String'.

    A type that is not installed is stored without a definition, as upstream does, and one line on
    the standard error says so.
    """
    try:
        described = json.loads(_interface_file(type_name, '.json').read_text())
        hashes = {entry['type_name']: entry['hash_string'] for entry in described['type_hashes']}
        contained = [
            entry['type_name']
            for entry in described['type_description_msg']['referenced_type_descriptions']
        ]
        text = _interface_file(type_name, '.msg').read_text()
        for name in contained:
            package, _, message = name.partition('/msg/')
            part = _interface_file(name, '.msg').read_text()
            text += f'\n{SEPARATOR}\nMSG: {package}/{message}\n{part}'
        return MessageDefinition(type_name, 'ros2msg', text, hashes[type_name])
    except (PackageNotFoundError, OSError, ValueError, KeyError) as error:
        print(
            f"[WARN] [rosbag2_py]: no definition of '{type_name}' is installed ({error}); "
            'the bag will not describe it',
            file=sys.stderr,
        )
        return MessageDefinition(type_name, 'unknown', '', '')


class LocalMessageDefinitionSource:
    """Looks definitions up in the ament index."""

    def get_full_text(self, topic_type: str) -> MessageDefinition:
        """Return the definition of `topic_type` and of all that it contains."""
        return find_definition(topic_type)
