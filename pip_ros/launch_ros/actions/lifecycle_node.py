# SPDX-License-Identifier: Apache-2.0
"""Running of a lifecycle node, and its transitions.

ChangeState events call the node's `change_state` service. Upstream sends the request once, and one
that the middleware loses in the first moments of discovery is waited for without end; here the
node's state tells whether the request arrived, and if not it is sent again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from launch.event import Event
from launch.event_handler import EventHandler
from launch.event_handlers import OnShutdown
from launch.launch_context import LaunchContext
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.logging import get_logger
from launch.some_substitutions_type import SomeSubstitutionsType

from ..events.lifecycle import ChangeState, StateTransition
from .node import Node

if TYPE_CHECKING:
    from ..lifecycle_client import LifecycleClient


class LifecycleNode(Node):
    """A node whose state the launch may change (ChangeState) and follow (OnStateTransition)."""

    is_lifecycle_node = True

    def __init__(
        self, *, name: SomeSubstitutionsType, namespace: SomeSubstitutionsType, **kwargs: Any
    ) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)
        self._client: LifecycleClient | None = None

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        self._turn = asyncio.Lock()
        context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, ChangeState), entities=self._on_change_state
            )
        )
        context.register_event_handler(OnShutdown(on_shutdown=self._on_end))
        return super().execute(context)

    def _on_change_state(self, event: ChangeState, context: LaunchContext) -> None:
        if event.lifecycle_node_matcher(self):
            context.add_completion_future(asyncio.ensure_future(self._change_state(event, context)))

    def _on_end(self, event: Event, context: LaunchContext) -> None:
        context.add_completion_future(asyncio.ensure_future(self._leave_graph()))

    async def _leave_graph(self) -> None:
        async with self._turn:
            if self._client is not None:
                await asyncio.to_thread(self._client.close)

    async def _change_state(self, event: ChangeState, context: LaunchContext) -> None:
        loop = asyncio.get_running_loop()

        def abandoned() -> bool:
            return context.is_shutdown or self.return_code is not None

        def emit(msg: Any) -> None:
            transition = StateTransition(action=self, msg=msg)
            loop.call_soon_threadsafe(context.emit_event_sync, transition)

        def change() -> bool | None:
            if abandoned():
                return None
            if self._client is None:
                # Imported in this thread: rclpy takes longer to import than a launch to start.
                from ..lifecycle_client import LifecycleClient  # noqa: PLC0415

                self._client = LifecycleClient(self.node_name, emit)
            return self._client.change_state(event.transition_id, abandoned)

        async with self._turn:  # the transitions of a node are asked for one after the other
            done = await asyncio.to_thread(change)
        name = ChangeState.valid_transitions[event.transition_id]
        logger = get_logger('launch_ros.actions.lifecycle_node')
        if done is None:
            logger.warning(f"Abandoning the transition '{name}' of '{self.node_name}'")
        elif not done:
            logger.error(f"Failed to make transition '{name}' for LifecycleNode '{self.node_name}'")
