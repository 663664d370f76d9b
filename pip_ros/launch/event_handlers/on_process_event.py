# SPDX-License-Identifier: Apache-2.0
"""Handlers of a process's start and exit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..event import Event
from ..event_handler import EventHandler, SomeReaction
from ..events.process import ProcessExited, ProcessStarted, RunningProcessEvent
from ..launch_description_entity import LaunchDescriptionEntity

if TYPE_CHECKING:
    from ..actions.execute_process import ExecuteProcess


def _matcher(event_type: type[Event], target: Any) -> Callable[[Event], bool]:
    if not (target is None or callable(target) or isinstance(target, LaunchDescriptionEntity)):
        raise TypeError(f"target_action must be an action or a function, got '{target}'")

    def matches(event: Event) -> bool:
        if not isinstance(event, RunningProcessEvent) or not isinstance(event, event_type):
            return False
        if target is None:
            return True
        return bool(target(event.action)) if callable(target) else event.action is target

    return matches


class OnProcessExit(EventHandler):
    """Acts when a process exits: `on_exit` is actions, or a function of (event, context)."""

    def __init__(
        self,
        *,
        target_action: ExecuteProcess | Callable[[ExecuteProcess], bool] | None = None,
        on_exit: SomeReaction,
        handle_once: bool = False,
    ) -> None:
        super().__init__(
            matcher=_matcher(ProcessExited, target_action),
            entities=on_exit,
            handle_once=handle_once,
        )


class OnProcessStart(EventHandler):
    """Acts when a process started: `on_start` is actions, or a function of (event, context)."""

    def __init__(
        self,
        *,
        target_action: ExecuteProcess | Callable[[ExecuteProcess], bool] | None = None,
        on_start: SomeReaction,
        handle_once: bool = False,
    ) -> None:
        super().__init__(
            matcher=_matcher(ProcessStarted, target_action),
            entities=on_start,
            handle_once=handle_once,
        )
