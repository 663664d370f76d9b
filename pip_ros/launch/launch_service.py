# SPDX-License-Identifier: Apache-2.0
"""The service that runs a launch: visits descriptions, hands events to handlers, ends in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
import contextlib
import signal
import threading
import traceback
from typing import Any

from .event import Event
from .event_handler import EventHandler
from .event_handlers.on_shutdown import OnShutdown
from .events.shutdown import Shutdown
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .logging import get_logger, launch_config, set_debug

#: Upstream leaves its processes behind on SIGTERM and SIGHUP; here each of these ends them.
ENDING_SIGNALS = {
    signal.SIGINT: 'ctrl-c (SIGINT)',
    signal.SIGTERM: 'SIGTERM',
    signal.SIGHUP: 'SIGHUP',
    signal.SIGQUIT: 'ctrl-\\ (SIGQUIT)',
}


class IncludeEvent(Event):
    """A launch description is to be visited."""

    name = 'launch.events.IncludeLaunchDescription'

    def __init__(self, launch_description: LaunchDescription) -> None:
        self.launch_description = launch_description


class LaunchService:
    """Runs launch descriptions until all is done, or a shutdown."""

    def __init__(
        self,
        *,
        argv: Iterable[str] | None = None,
        noninteractive: bool = False,
        debug: bool = False,
    ) -> None:
        set_debug(debug)
        self._logger = get_logger()
        self._logger.info(f'All log files can be found below {launch_config.log_dir}')
        self._logger.info(f'Default logging verbosity is set to {"DEBUG" if debug else "INFO"}')
        self.context = LaunchContext(argv=argv, noninteractive=noninteractive)
        self._pending: list[asyncio.Future[Any]] = []
        self.context.register_event_handler(
            EventHandler(
                matcher=lambda event: isinstance(event, IncludeEvent),
                entities=lambda event, context: event.launch_description,
            )
        )
        self.context.register_event_handler(OnShutdown(on_shutdown=self._on_shutdown))

    def include_launch_description(self, launch_description: LaunchDescription) -> None:
        """Have a description visited, now or when the service runs (thread-safe)."""
        self.emit_event(IncludeEvent(launch_description))

    def emit_event(self, event: Event) -> None:
        """Queue an event, now or for when the service runs (thread-safe)."""
        loop = self.context.asyncio_loop
        if loop is None:
            self.context.emit_event_sync(event)
        else:
            loop.call_soon_threadsafe(self.context.emit_event_sync, event)

    def shutdown(self) -> None:
        """End the launch (thread-safe); does nothing if it does not run."""
        if self.context.asyncio_loop is not None:
            self.context.asyncio_loop.call_soon_threadsafe(
                self._shutdown, 'LaunchService.shutdown() called'
            )

    def run(self, *, shutdown_when_idle: bool = True) -> int:
        """Run to the end.

        Returns:
            0, or 1 if the launch met an error or ended because a process failed.
        """
        return asyncio.run(self.run_async(shutdown_when_idle=shutdown_when_idle))

    async def run_async(self, *, shutdown_when_idle: bool = True) -> int:
        """Run to the end within a running event loop; returns as `run` does."""
        context = self.context
        if context.asyncio_loop is not None:
            raise RuntimeError('the launch service runs already')
        context.asyncio_loop = asyncio.get_running_loop()
        try:
            with self._signals_handled():
                await self._handle_events(shutdown_when_idle)
        finally:
            for future in [*self._pending, *context.completion_futures]:
                future.cancel()
            context.asyncio_loop = None
        return context.return_code

    async def _handle_events(self, shutdown_when_idle: bool) -> None:
        context = self.context
        next_event: asyncio.Task[Event] | None = None
        while True:
            self._prune()
            futures = [*self._pending, *context.completion_futures]
            queued = not context.event_queue.empty()
            if not futures and not queued and (next_event is None or not next_event.done()):
                if context.is_shutdown:
                    break
                if shutdown_when_idle:
                    self._shutdown('idle')
                    continue
            if next_event is None:
                next_event = asyncio.create_task(context.event_queue.get())
            await asyncio.wait([next_event, *futures], return_when=asyncio.FIRST_COMPLETED)
            if next_event.done():
                self._handle(next_event.result())
                next_event = None
        if next_event is not None:
            next_event.cancel()

    def _prune(self) -> None:
        """Forget what is done; what failed ends the launch."""
        for futures in (self._pending, self.context.completion_futures):
            for future in [future for future in futures if future.done()]:
                futures.remove(future)
                if not future.cancelled() and future.exception() is not None:
                    self._fail(future.exception())

    def _handle(self, event: Event) -> None:
        """Let every handler that matches act on the event."""
        self._logger.debug(f'processing event: {event.name}')
        for handler in tuple(self.context.event_handlers):
            self.context.push_locals()
            try:
                if handler.matches(event):
                    for entity in handler.handle(event, self.context):
                        self._visit(entity)
            except Exception as error:
                self._fail(error)
            finally:
                self.context.pop_locals()

    def _visit(self, entity: LaunchDescriptionEntity) -> None:
        """Visit an entity and, depth first, all that it yields."""
        for yielded in entity.visit(self.context) or ():
            self._visit(yielded)
        future = entity.get_asyncio_future()
        if future is not None and not future.done():
            self._pending.append(future)

    def _fail(self, error: BaseException | None) -> None:
        self._logger.error(f'Caught exception in launch (see debug for traceback): {error}')
        self._logger.debug(''.join(traceback.format_exception(error)))
        self.context.return_code = 1
        self._shutdown(f'Caught exception in launch (see debug for traceback): {error}')

    def _shutdown(self, reason: str, due_to_sigint: bool = False) -> None:
        if not self.context.is_shutdown:
            self.context.is_shutdown = True
            self.context.emit_event_sync(Shutdown(reason=reason, due_to_sigint=due_to_sigint))

    def _on_shutdown(self, event: Event, context: LaunchContext) -> None:
        context.is_shutdown = True

    def _on_signal(self, number: signal.Signals) -> None:
        message = f'user interrupted with {ENDING_SIGNALS[number]}'
        if self.context.is_shutdown:
            self._logger.warning(f'{message} again, ignoring...')
            return
        self._logger.warning(message)
        self._shutdown(ENDING_SIGNALS[number], due_to_sigint=number is signal.SIGINT)

    @contextlib.contextmanager
    def _signals_handled(self) -> Any:
        """End the launch on the signals that ask for it, while it runs in the main thread.

        Handling SIGINT also undoes that a shell without job control had it ignored, for this
        process and, because handled signals are reset at exec, for its children. A SIGHUP that is
        ignored stays so: nohup means it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
        if before[signal.SIGHUP] is signal.SIG_IGN:
            del before[signal.SIGHUP]
        for number in before:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)
