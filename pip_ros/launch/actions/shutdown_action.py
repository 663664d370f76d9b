# SPDX-License-Identifier: Apache-2.0
"""The end of the launch as an action."""

from __future__ import annotations

from typing import Any

from ..events.process import ProcessExited
from ..events.shutdown import Shutdown as ShutdownEvent
from ..launch_context import LaunchContext
from ..logging import get_logger
from .emit_event import EmitEvent


class Shutdown(EmitEvent):
    """Ends the launch; as `on_exit` of a process it makes that process a required one."""

    def __init__(self, *, reason: str = 'reason not given', **kwargs: Any) -> None:
        super().__init__(event=ShutdownEvent(reason=reason), **kwargs)

    def execute(self, context: LaunchContext) -> None:
        cause = context.get_locals_as_dict().get('event')
        if isinstance(cause, ProcessExited) and not context.is_shutdown:
            get_logger().info(
                f'process[{cause.process_name}] was required: shutting down launched system'
            )
        super().execute(context)
