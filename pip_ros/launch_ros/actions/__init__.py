# SPDX-License-Identifier: Apache-2.0
"""Actions on nodes."""

from launch.unsupported import refuse_other_names

from .lifecycle_node import LifecycleNode
from .node import Node
from .push_ros_namespace import PushRosNamespace
from .set_parameter import SetParameter
from .set_remap import SetRemap

__getattr__ = refuse_other_names(__name__)

__all__ = ['LifecycleNode', 'Node', 'PushRosNamespace', 'SetParameter', 'SetRemap']
