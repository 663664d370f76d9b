# SPDX-License-Identifier: Apache-2.0
"""What becomes of what a page asks: refused, done here, guided, or asked of the graph.

Nothing here waits: an answer of the graph is told when it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import secrets
import time
from typing import Protocol

from hiwm_core.error import HiwmError
from hiwm_intervention.console_call import GUIDED, OWN, Call, Outcome
from hiwm_intervention.console_iws import Begin
from hiwm_intervention.console_protocol import Ask
from hiwm_intervention.console_session import ConsoleSession
from hiwm_intervention.console_starts import HardStarts

Settle = Callable[[Outcome], None]
SEEDS = 2**31  # from which one is drawn where nobody names one


class Pages(Protocol):
    """Where answers go; see `ConsoleServer`."""

    def reply(self, page: str, number: int, name: str, ok: bool, text: str) -> None:
        """Answer an ask."""

    def reject(self, page: str, text: str) -> None:
        """Tell a page that has asked nothing by number that something cannot be done."""


class Stop(Protocol):
    """The hand on the emergency stop; see `EmergencyStop`."""

    @property
    def used(self) -> bool:
        """Whether it has been pressed."""

    def press(self) -> None:
        """Lock."""

    def take_back(self) -> None:
        """Unlock."""


class Asks:
    """The asks of all pages of one console.

    Args:
        session: Says who may ask what, and puts answers into words.
        starts: Those that are remembered.
        pages: Where answers go.
        stop: The hand on the emergency stop.
        send: Asks the graph; the second argument is called with the answer.
        stamp: Nanoseconds of the graph's clock.
        changed: Called when an answer of the graph has been told.
    """

    def __init__(
        self,
        session: ConsoleSession,
        starts: HardStarts,
        pages: Pages,
        stop: Stop,
        *,
        send: Callable[[Call, Settle], None],
        stamp: Callable[[], int],
        changed: Callable[[], None],
    ) -> None:
        self._session = session
        self._starts = starts
        self._pages = pages
        self._stop = stop
        self._send = send
        self._stamp = stamp
        self._changed = changed

    def take(self, page: str, ask: Ask) -> None:
        """A page asks something."""
        refusal = self._session.refusal(page, ask)
        if refusal:
            self._pages.reply(page, ask.id, ask.name, False, refusal)
        elif ask.name in GUIDED and (ask.name != 'reset' or self._session.is_guided):
            self._guide(page, ask)
        elif ask.name in OWN:
            self._do_own(page, ask)
        else:
            if ask.name == 'stop' and self._session.is_physical:
                self._stop.press()
            elif ask.name == 'unlock' and self._stop.used:
                self._stop.take_back()
            self._request(page, ask)

    def begin(self, page: str, begin: Begin) -> None:
        """A page from elsewhere begins a new run and drives in it."""
        ask = Ask(0, 'reset', {'seed': -1})
        refusal = self._session.refusal(page, ask)
        if begin.task != self._session.task_name:
            refusal = f"the task is '{self._session.task_name}', not '{begin.task}'"
        elif self._session.is_physical:
            refusal = 'such a page may drive only where nothing real can move'
        if refusal:
            self._pages.reject(page, refusal)
        else:
            self._request(page, ask, then=Ask(0, 'take_over'))

    def release(self, page: str) -> None:
        """Let the wheel go for a page that is not there any more."""
        self._send(self._session.call(page, Ask(0, 'release')), lambda outcome: None)

    def _request(self, page: str, ask: Ask, then: Ask | None = None) -> None:
        """Ask the graph, tell the page, and go on with `then` if it was done."""
        asked = self._stamp()

        def settle(outcome: Outcome) -> None:
            sentence = self._session.settle(page, ask, outcome, asked, time.monotonic())
            if ask.id:
                self._pages.reply(page, ask.id, ask.name, outcome.success, sentence)
            elif not outcome.success:
                self._pages.reject(page, sentence)
            if outcome.success and then is not None:
                self._request(page, then)
            self._changed()

        self._send(self._session.call(page, ask), settle)

    def _guide(self, page: str, ask: Ask) -> None:
        """A start that a person sets up: shown first, and begun when they are ready."""
        guide, done, text = self._session.guide, True, ''
        if ask.name == 'ready':
            if guide.place():
                self._request(page, replace(ask, fields={'seed': guide.seed}))
                return
            done, text = False, 'There is no start to be set up; press New start first.'
        elif ask.name == 'cancel_start':
            done = guide.leave()
            text = 'The run goes on as it was.' if done else 'No start is being set up.'
        else:
            seed = ask.fields['seed'] if ask.fields['seed'] >= 0 else secrets.randbelow(SEEDS)
            # Nothing may drive while hands are on the table.
            if self._session.is_driven:
                self._request(page, Ask(0, 'pause'))
            guide.ask(seed, self._session.epoch, time.monotonic())
            text = guide.sentence
        self._pages.reply(page, ask.id, ask.name, done, text)

    def _do_own(self, page: str, ask: Ask) -> None:
        seed = ask.fields['seed']
        try:
            if ask.name == 'remember_start':
                self._starts.add(seed, ask.fields['note'])
                text = f'Start {seed} is remembered.'
            else:
                self._starts.remove(seed)
                text = f'Start {seed} is forgotten.'
        except HiwmError as error:
            self._pages.reply(page, ask.id, ask.name, False, error.message)
        else:
            self._pages.reply(page, ask.id, ask.name, True, text)
