# SPDX-License-Identifier: Apache-2.0
"""What can happen to nodes."""

from launch.unsupported import refuse_other_names

from . import lifecycle

__getattr__ = refuse_other_names(__name__)

__all__ = ['lifecycle']
