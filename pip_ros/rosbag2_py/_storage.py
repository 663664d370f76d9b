# SPDX-License-Identifier: Apache-2.0
"""The classes that upstream keeps in the module of this name."""

from rosbag2_py.message_definition import MessageDefinition
from rosbag2_py.metadata import (
    BagMetadata,
    FileInformation,
    MetadataIo,
    TopicInformation,
    TopicMetadata,
)
from rosbag2_py.options import (
    ConverterOptions,
    ReadOrder,
    ReadOrderSortBy,
    StorageFilter,
    StorageOptions,
    get_default_storage_id,
)
from rosbag2_py.qos import (
    Duration,
    QoS,
    convert_rclcpp_qos_to_rclpy_qos,
    rmw_qos_durability_policy_t,
    rmw_qos_history_policy_t,
    rmw_qos_liveliness_policy_t,
    rmw_qos_reliability_policy_t,
)

__all__ = [
    'BagMetadata',
    'ConverterOptions',
    'Duration',
    'FileInformation',
    'MessageDefinition',
    'MetadataIo',
    'QoS',
    'ReadOrder',
    'ReadOrderSortBy',
    'StorageFilter',
    'StorageOptions',
    'TopicInformation',
    'TopicMetadata',
    'convert_rclcpp_qos_to_rclpy_qos',
    'get_default_storage_id',
    'rmw_qos_durability_policy_t',
    'rmw_qos_history_policy_t',
    'rmw_qos_liveliness_policy_t',
    'rmw_qos_reliability_policy_t',
]
