# SPDX-License-Identifier: Apache-2.0
"""Watches a recording for its summary, and never disturbs it.

Whatever goes wrong in here is said once; the recording goes on, and the summary can be made from
the bag afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hiwm_core.continuity import Loss
from hiwm_intervention.session_report import write_report
from hiwm_intervention.session_summary import SessionSummary
from hiwm_intervention.summary_file import SummaryFile, described


class SessionObserver:
    """What the recorder shows its messages to.

    Args:
        bag: The bag's folder.
        custom_data: The bag's.
        decode: Topic and message in CDR to the message.
        warn: Takes one sentence.
    """

    def __init__(
        self,
        bag: Path,
        custom_data: Mapping[str, str],
        decode: Callable[[str, bytes], Any],
        warn: Callable[[str], None],
    ) -> None:
        self._bag = bag
        self._custom_data = dict(custom_data)
        self._warn = warn
        self._decode = decode
        self._file: SummaryFile | None = None
        self._broken = False
        self._finished = False
        self._summary = SessionSummary(decode, self._keep)

    def number(self, topic: str, number: int | None) -> None:
        """The middleware's number of a message that has come."""
        self._summary.continuity.number(topic, number)

    def written(self, topic: str, data: bytes, time_ns: int) -> None:
        """A message is in the bag."""
        if not self._broken:
            try:
                self._summary.take(topic, data, time_ns)
            except Exception as error:  # nothing may end the recording
                self._break(error)

    def finish(self, fault: str) -> list[Loss]:
        """The bag is closed: write summary and report; returns what is missing."""
        if self._finished:
            return []
        self._finished = True
        losses: list[Loss] = []
        try:
            losses = self._summary.continuity.losses()
            if not self._broken:
                totals = self._summary.finish() | described(self._custom_data)
                self._opened().finish(totals | {'remark': fault})
            write_report(self._bag.parent)
        except Exception as error:  # nothing may make the session fail
            self._break(error)
        return losses

    def _keep(self, event: dict[str, Any]) -> None:
        self._opened().keep(event)

    def _opened(self) -> SummaryFile:
        if self._file is None:
            self._file = SummaryFile(self._bag)
        return self._file

    def _break(self, error: Exception) -> None:
        if not self._broken:
            self._warn(
                f'the report is not made along with the recording ({error}); afterwards '
                f'`ros2 run hiwm_intervention report {self._bag.parent}` makes it from the bag'
            )
        self._broken = True
        if self._file is not None:
            self._file.abandon()
