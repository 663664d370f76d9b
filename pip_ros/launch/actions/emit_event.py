# SPDX-License-Identifier: Apache-2.0
"""Emission of an event."""

from __future__ import annotations

from typing import Any

from ..action import Action
from ..event import Event
from ..events.process import ProcessExited
from ..events.shutdown import Shutdown
from ..launch_context import LaunchContext


class EmitEvent(Action):
    """Queues an event for the handlers."""

    def __init__(self, *, event: Event, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event = event

    def execute(self, context: LaunchContext) -> None:
        cause = context.get_locals_as_dict().get('event')
        if (
            isinstance(self.event, Shutdown)
            and isinstance(cause, ProcessExited)
            and cause.returncode != 0
            and not context.is_shutdown
        ):
            # Upstream exits with 0 here; a system that ended because a process failed has failed.
            context.return_code = 1
        context.emit_event_sync(self.event)
