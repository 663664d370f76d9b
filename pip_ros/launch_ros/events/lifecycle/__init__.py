# SPDX-License-Identifier: Apache-2.0
"""Requests to lifecycle nodes, and their transitions."""

from launch.unsupported import refuse_other_names

from .change_state import ChangeState
from .state_transition import StateTransition

__getattr__ = refuse_other_names(__name__)

__all__ = ['ChangeState', 'StateTransition']
