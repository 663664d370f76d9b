# SPDX-License-Identifier: Apache-2.0
"""Actions after a delay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ..action import Action
from ..event import Event
from ..event_handler import EventHandler
from ..event_handlers.on_shutdown import OnShutdown
from ..events.timer_event import TimerEvent
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..some_substitutions_type import SomeSubstitutionsType
from ..utilities import normalize_to_list_of_substitutions


class TimerAction(Action):
    """Yields actions once, `period` seconds later, unless it is cancelled before."""

    def __init__(
        self,
        *,
        period: float | SomeSubstitutionsType,
        actions: Iterable[LaunchDescriptionEntity],
        cancel_on_shutdown: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(period, (int, float)):
            period = str(period)
        self._period = normalize_to_list_of_substitutions(period)
        self.actions = list(actions)
        self._cancel_on_shutdown = cancel_on_shutdown
        self._cancelled = False
        self._wait: asyncio.Task[None] | None = None

    def describe_conditional_sub_entities(
        self,
    ) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        return [('after a delay', self.actions)]

    def cancel(self) -> None:
        """Keep the timer from firing, now or when it is executed."""
        self._cancelled = True
        if self._wait is not None:
            self._wait.cancel()

    def execute(self, context: LaunchContext) -> None:
        if self._cancelled or (context.is_shutdown and self._cancel_on_shutdown):
            return
        assert context.asyncio_loop is not None
        period = float(self._period.perform(context))
        values = context.get_locals_as_dict()

        def fire(event: Event, context: LaunchContext) -> list[LaunchDescriptionEntity]:
            context.extend_locals({'event': event, **values})
            return self.actions

        def cancel(event: Event, context: LaunchContext) -> None:
            self.cancel()

        async def wait() -> None:
            await asyncio.sleep(period)
            context.emit_event_sync(TimerEvent(timer_action=self))

        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, TimerEvent) and event.timer_action is self,
                entities=fire,
                handle_once=True,
            )
        )
        if self._cancel_on_shutdown:
            context.register_event_handler(OnShutdown(on_shutdown=cancel))
        self._wait = context.asyncio_loop.create_task(wait())

    def get_asyncio_future(self) -> asyncio.Task[None] | None:
        return self._wait
