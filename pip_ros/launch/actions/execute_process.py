# SPDX-License-Identifier: Apache-2.0
"""Running of a process: start, output, respawn, shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
import itertools
from logging import Logger
from pathlib import Path
import shlex
import signal
from typing import Any

from ..action import Action
from ..child_process import ChildProcess
from ..event import Event
from ..event_handler import EventHandler, SomeReaction
from ..event_handlers import OnProcessExit, OnShutdown
from ..events.process import ProcessExited, ProcessStarted, ShutdownProcess, SignalProcess
from ..launch_context import LaunchContext
from ..launch_description_entity import LaunchDescriptionEntity
from ..logging import get_logger, get_output_loggers
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..substitutions.launch_configuration import LaunchConfiguration
from ..utilities import normalize_to_list_of_substitutions
from ..utilities.type_utils import coerce_to_type

SomeEnvironment = Mapping[SomeSubstitutionsType, SomeSubstitutionsType] | None
NOT_STARTED = 127

_numbers = itertools.count(1)


class ExecuteProcess(Action):
    """Runs a command until it exits or the launch ends.

    At the end of the launch the process gets SIGINT, after `sigterm_timeout` seconds SIGTERM, after
    further `sigkill_timeout` seconds SIGKILL.
    """

    def __init__(
        self,
        *,
        cmd: Iterable[SomeSubstitutionsType],
        name: SomeSubstitutionsType | None = None,
        prefix: SomeSubstitutionsType | None = None,
        cwd: SomeSubstitutionsType | None = None,
        env: SomeEnvironment = None,
        additional_env: SomeEnvironment = None,
        shell: bool = False,
        output: SomeSubstitutionsType | dict[str, str] = 'log',
        emulate_tty: bool | SomeSubstitutionsType = False,
        log_cmd: bool = False,
        on_exit: SomeReaction = None,
        respawn: bool | SomeSubstitutionsType = False,
        respawn_delay: float | None = None,
        respawn_max_retries: int = -1,
        sigterm_timeout: SomeSubstitutionsType | None = None,
        sigkill_timeout: SomeSubstitutionsType | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(cmd, str):
            raise TypeError(f"cmd must be a list of arguments, got the text '{cmd}'")
        self.cmd = [normalize_to_list_of_substitutions(part) for part in cmd]
        self._name = name
        self._prefix = prefix
        self._cwd = cwd
        self._env = env
        self._additional_env = additional_env
        self.shell = shell
        self._output = output
        self._emulate_tty = emulate_tty
        self._log_cmd = log_cmd
        self._on_exit = on_exit
        self._respawn = respawn
        self._respawn_delay = respawn_delay or 0.0
        self._respawn_max_retries = respawn_max_retries
        self._timeouts = [
            (signal.SIGTERM, self._timeout('sigterm_timeout', sigterm_timeout)),
            (signal.SIGKILL, self._timeout('sigkill_timeout', sigkill_timeout)),
        ]
        self._child: ChildProcess | None = None
        self._run: asyncio.Task[None] | None = None
        self._end: asyncio.Task[None] | None = None
        self.process_details: dict[str, Any] | None = None

    @staticmethod
    def _timeout(name: str, value: SomeSubstitutionsType | None) -> list[Substitution]:
        if isinstance(value, (int, float)):
            value = str(value)
        default = LaunchConfiguration(name, default=5)
        return normalize_to_list_of_substitutions(default if value is None else value)

    @property
    def return_code(self) -> int | None:
        """The exit code of the latest run, None while it runs or before it starts."""
        return None if self._child is None else self._child.returncode

    def get_sub_entities(self) -> list[LaunchDescriptionEntity]:
        return OnProcessExit(on_exit=self._on_exit).entities

    def get_asyncio_future(self) -> asyncio.Task[None] | None:
        return self._run

    def execute(self, context: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if self._run is not None:
            raise RuntimeError(f'the process of {self._title()} was executed more than once')
        if context.is_shutdown:
            return None
        assert context.asyncio_loop is not None
        self._prepare(context)
        for handler in (
            EventHandler(matcher=self._is_asked_to_end, entities=self._on_shutdown),
            EventHandler(matcher=self._is_asked_for_signal, entities=self._on_signal),
            OnShutdown(on_shutdown=self._on_shutdown),
            OnProcessExit(target_action=self, on_exit=self._on_exit),
        ):
            context.register_event_handler(handler)
        self._run = context.asyncio_loop.create_task(self._supervise(context))
        return None

    def _title(self) -> str:
        return str(self.process_details['name'] if self.process_details else type(self).__name__)

    def _prepare(self, context: LaunchContext) -> None:
        """Perform every substitution, so that a mistake shows before anything runs."""

        def perform(value: SomeSubstitutionsType) -> str:
            return normalize_to_list_of_substitutions(value).perform(context)

        def pairs(values: SomeEnvironment) -> dict[str, str]:
            return {perform(key): perform(value) for key, value in (values or {}).items()}

        prefix = self._prefix
        if prefix is None:
            prefix = LaunchConfiguration('launch-prefix', default='')
        cmd = shlex.split(perform(prefix)) + [perform(part) for part in self.cmd]
        program = cmd[0].split(maxsplit=1)[0] if self.shell and cmd[0].strip() else cmd[0]
        name = Path(program).name if self._name is None else perform(self._name)
        base = dict(context.environment) if self._env is None else pairs(self._env)
        self.process_details = {
            'name': f'{name}-{next(_numbers)}',
            'cmd': cmd,
            'cwd': None if self._cwd is None else perform(self._cwd),
            'env': {**base, **pairs(self._additional_env)},
            'pid': 0,
        }
        output = self._output if isinstance(self._output, dict) else perform(self._output)
        output = context.environment.get('OVERRIDE_LAUNCH_PROCESS_OUTPUT') or output
        self._loggers = get_output_loggers(self._title(), output)
        self._logger: Logger = get_logger(self._title())
        tty = context.launch_configurations.get('emulate_tty', self._emulate_tty)
        self._tty = tty if isinstance(tty, bool) else coerce_to_type(perform(tty), bool)
        again = self._respawn
        self._respawns = again if isinstance(again, bool) else coerce_to_type(perform(again), bool)
        self._seconds = [(number, float(perform(value))) for number, value in self._timeouts]
        self._stopping = asyncio.Event()

    async def _supervise(self, context: LaunchContext) -> None:
        """Run the command, and again after each exit if it is to respawn."""
        retries = 0
        while not context.is_shutdown:  # an error later in the visit may have ended all already
            started = await self._run_once(context)
            if not started or self._stopping.is_set() or not self._respawns:
                return
            if 0 <= self._respawn_max_retries <= retries:
                return
            retries += 1
            try:
                await asyncio.wait_for(self._stopping.wait(), self._respawn_delay)
            except TimeoutError:
                continue
            return

    async def _run_once(self, context: LaunchContext) -> bool:
        """Run the command to its end; returns whether it could be started."""
        details = self.process_details
        assert details is not None
        command = ' '.join(details['cmd'])
        if self._log_cmd:
            self._logger.info(f"process details: cmd='{command}', cwd='{details['cwd']}'")
        try:
            self._child = child = await ChildProcess.start(
                details['cmd'],
                cwd=details['cwd'],
                env=details['env'],
                shell=self.shell,
                emulate_tty=self._tty,
                on_stdout=self._loggers[0].info,
                on_stderr=self._loggers[1].info,
            )
        except OSError as error:
            self._logger.error(f"process could not be started: {error} [cmd '{command}'].")
            context.emit_event_sync(ProcessExited(returncode=NOT_STARTED, action=self, **details))
            return False
        details['pid'] = child.pid
        self._logger.info(f'process started with pid [{child.pid}]')
        context.emit_event_sync(ProcessStarted(action=self, **details))
        if self._stopping.is_set():
            self._stop(context)
        try:
            returncode = await child.wait()
        except asyncio.CancelledError:
            child.send_signal(signal.SIGKILL)
            raise
        if self._end is not None:
            self._end.cancel()
        if returncode == 0:
            self._logger.info(f'process has finished cleanly [pid {child.pid}]')
        else:
            self._logger.error(
                f"process has died [pid {child.pid}, exit code {returncode}, cmd '{command}']."
            )
        context.emit_event_sync(ProcessExited(returncode=returncode, action=self, **details))
        return True

    def _stop(self, context: LaunchContext) -> None:
        """Begin to end the process, or see to it that it ends as soon as it has started."""
        assert context.asyncio_loop is not None
        self._stopping.set()
        if self._child is not None and self._child.returncode is None and self._end is None:
            self._end = context.asyncio_loop.create_task(self._escalate(self._child))

    async def _escalate(self, child: ChildProcess) -> None:
        sent = signal.SIGINT
        self._send(child, sent)
        for number, seconds in self._seconds:
            await asyncio.sleep(seconds)
            self._logger.error(
                f"process[{self._title()}] failed to terminate '{seconds:g}' seconds after "
                f"receiving '{sent.name}', escalating to '{number.name}'"
            )
            self._send(child, number)
            sent = number

    def _send(self, child: ChildProcess, number: signal.Signals) -> None:
        self._logger.info(f"sending signal '{number.name}' to process[{self._title()}]")
        child.send_signal(number)

    def _on_shutdown(self, event: Event, context: LaunchContext) -> None:
        self._stop(context)

    def _is_asked_to_end(self, event: Event) -> bool:
        return isinstance(event, ShutdownProcess) and event.process_matcher(self)

    def _is_asked_for_signal(self, event: Event) -> bool:
        return isinstance(event, SignalProcess) and event.process_matcher(self)

    def _on_signal(self, event: SignalProcess, context: LaunchContext) -> None:
        if self._child is None or self._child.returncode is not None:
            self._logger.warning(f"signal '{event.signal_name}' not sent: the process does not run")
        else:
            self._send(self._child, event.signal)
