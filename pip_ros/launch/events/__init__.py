# SPDX-License-Identifier: Apache-2.0
"""What can happen during a launch."""

from ..unsupported import refuse_other_names
from . import process
from .matchers import matches_action
from .shutdown import Shutdown
from .timer_event import TimerEvent

__getattr__ = refuse_other_names(__name__)

__all__ = ['Shutdown', 'TimerEvent', 'matches_action', 'process']
