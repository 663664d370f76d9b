# SPDX-License-Identifier: Apache-2.0
"""Registration of an event handler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..action import Action
from ..event_handler import EventHandler
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity


class RegisterEventHandler(Action):
    """From here on the handler acts on events."""

    def __init__(self, event_handler: EventHandler, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def describe_conditional_sub_entities(
        self,
    ) -> Iterable[tuple[str, Iterable[LaunchDescriptionEntity]]]:
        return [self.event_handler.describe()]

    def execute(self, context: LaunchContext) -> None:
        context.register_event_handler(self.event_handler)
