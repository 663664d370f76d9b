# SPDX-License-Identifier: Apache-2.0
"""The state of one launch: configurations, environment, locals, event handlers and events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, MutableMapping
import os
from typing import Any

from .event import Event
from .event_handler import EventHandler
from .substitution import Substitution


class Locals:
    """Attribute access to the locals and globals of a context."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(
                f"context.locals does not contain attribute '{name}', it contains: "
                f'[{", ".join(sorted(self._values))}]'
            ) from None


class LaunchContext:
    """What substitutions and actions read and write while launching."""

    def __init__(self, *, argv: Iterable[str] | None = None, noninteractive: bool = False) -> None:
        self.argv = list(argv or [])
        self.noninteractive = noninteractive
        self.launch_configurations: dict[str, Any] = {}
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self.is_shutdown = False
        self.return_code = 0
        self.event_handlers: deque[EventHandler] = deque()
        self.event_queue: asyncio.Queue[Event] = asyncio.Queue()
        self.completion_futures: list[asyncio.Future[Any]] = []
        self._locals_stack: list[dict[str, Any]] = [{}]
        self._globals: dict[str, Any] = {}
        self._configurations_stack: list[dict[str, Any]] = []
        self._environment_stack: list[dict[str, str]] = []

    @property
    def environment(self) -> MutableMapping[str, str]:
        """The environment that processes inherit: this process's own."""
        return os.environ

    @property
    def locals(self) -> Locals:
        """Values of the event being handled and the launch file being included."""
        return Locals(self.get_locals_as_dict())

    def get_locals_as_dict(self) -> dict[str, Any]:
        """Return locals laid over globals."""
        return {**self._globals, **self._locals_stack[-1]}

    def extend_locals(self, values: dict[str, Any]) -> None:
        """Set locals until the event in progress is handled."""
        self._locals_stack[-1].update(values)

    def extend_globals(self, values: dict[str, Any]) -> None:
        """Set values for the rest of the launch."""
        self._globals.update(values)

    def push_locals(self) -> None:
        """Begin a scope of locals."""
        self._locals_stack.append(dict(self._locals_stack[-1]))

    def pop_locals(self) -> None:
        """End a scope of locals."""
        self._locals_stack.pop()

    def push_scope(self) -> None:
        """Begin a scope of launch configurations and environment variables."""
        self._configurations_stack.append(dict(self.launch_configurations))
        self._environment_stack.append(dict(os.environ))

    def pop_scope(self) -> None:
        """Put configurations and environment back to where the scope began."""
        self.launch_configurations = self._configurations_stack.pop()
        before = self._environment_stack.pop()
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)

    def perform_substitution(self, substitution: Substitution) -> str:
        """Compute one substitution."""
        return substitution.perform(self)

    def register_event_handler(self, event_handler: EventHandler, append: bool = False) -> None:
        """Add a handler: before the others, as upstream does, unless `append`."""
        if append:
            self.event_handlers.append(event_handler)
        else:
            self.event_handlers.appendleft(event_handler)

    def unregister_event_handler(self, event_handler: EventHandler) -> None:
        """Remove a handler."""
        self.event_handlers.remove(event_handler)

    def emit_event_sync(self, event: Event) -> None:
        """Queue an event, from the thread that runs the launch service."""
        self.event_queue.put_nowait(event)

    async def emit_event(self, event: Event) -> None:
        """Queue an event."""
        self.emit_event_sync(event)

    def add_completion_future(self, future: asyncio.Future[Any]) -> None:
        """Keep the launch running until `future` is done."""
        self.completion_futures.append(future)
