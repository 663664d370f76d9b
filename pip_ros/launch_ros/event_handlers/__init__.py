# SPDX-License-Identifier: Apache-2.0
"""What to do when something happens to a node."""

from launch.unsupported import refuse_other_names

from .on_state_transition import OnStateTransition

__getattr__ = refuse_other_names(__name__)

__all__ = ['OnStateTransition']
