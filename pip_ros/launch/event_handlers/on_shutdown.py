# SPDX-License-Identifier: Apache-2.0
"""The handler of the launch's end."""

from __future__ import annotations

from ..event_handler import EventHandler, SomeReaction
from ..events.shutdown import Shutdown


class OnShutdown(EventHandler):
    """Acts when the launch ends: `on_shutdown` is actions, or a function of (event, context)."""

    def __init__(self, *, on_shutdown: SomeReaction, handle_once: bool = False) -> None:
        super().__init__(
            matcher=lambda event: isinstance(event, Shutdown),
            entities=on_shutdown,
            handle_once=handle_once,
        )
