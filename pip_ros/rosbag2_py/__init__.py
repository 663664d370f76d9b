# SPDX-License-Identifier: Apache-2.0
"""rosbag2's Python interface (Jazzy) over the `rosbags` library: writes MCAP, reads sqlite3 too."""

from rosbag2_py._storage import (
    BagMetadata,
    ConverterOptions,
    FileInformation,
    MessageDefinition,
    MetadataIo,
    ReadOrder,
    ReadOrderSortBy,
    StorageFilter,
    StorageOptions,
    TopicInformation,
    TopicMetadata,
    convert_rclcpp_qos_to_rclpy_qos,
    get_default_storage_id,
)
from rosbag2_py.bag_file import Info
from rosbag2_py.message_definition import LocalMessageDefinitionSource
from rosbag2_py.options import get_registered_readers, get_registered_writers
from rosbag2_py.reindexer import Reindexer
from rosbag2_py.sequential_reader import SequentialReader
from rosbag2_py.sequential_writer import SequentialWriter

__all__ = [
    'BagMetadata',
    'ConverterOptions',
    'FileInformation',
    'Info',
    'LocalMessageDefinitionSource',
    'MessageDefinition',
    'MetadataIo',
    'ReadOrder',
    'ReadOrderSortBy',
    'Reindexer',
    'SequentialReader',
    'SequentialWriter',
    'StorageFilter',
    'StorageOptions',
    'TopicInformation',
    'TopicMetadata',
    'convert_rclcpp_qos_to_rclpy_qos',
    'get_default_storage_id',
    'get_registered_readers',
    'get_registered_writers',
]


def __getattr__(name: str) -> object:
    """Name what upstream has and this package has not."""
    if name in (
        'CompressionMode',
        'CompressionOptions',
        'Player',
        'PlayOptions',
        'Recorder',
        'RecordOptions',
        'SequentialCompressionReader',
        'SequentialCompressionWriter',
        'bag_rewrite',
    ):
        raise AttributeError(f'rosbag2_py.{name} is not supported by this rosbag2_py')
    raise AttributeError(f"module 'rosbag2_py' has no attribute '{name}'")
