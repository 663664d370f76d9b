# SPDX-License-Identifier: Apache-2.0
"""What happens to processes, and what can be asked of them."""

from ...unsupported import refuse_other_names
from .process_targeted_event import ProcessTargetedEvent, ShutdownProcess, SignalProcess
from .running_process_event import ProcessExited, ProcessStarted, RunningProcessEvent

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'ProcessExited',
    'ProcessStarted',
    'ProcessTargetedEvent',
    'RunningProcessEvent',
    'ShutdownProcess',
    'SignalProcess',
]
