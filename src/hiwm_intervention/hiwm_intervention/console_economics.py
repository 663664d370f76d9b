# SPDX-License-Identifier: Apache-2.0
"""What a person's time yields: for this session, and kept for a table over all of them.

Definitions:
  human time       seconds in HANDOVER and CORRECTING, as the multiplexer counts them
  correction       a run of steps that a person chose, without a step of another between them, on a
                   branch that is not labelled to be discarded
  accepted         steps that a person chose on the path of a branch that is labelled good, each
                   once; their number times the task's period is the accepted corrective time
  failure          a branch that was left for another one
  session time     seconds in which the console saw the rig's frames

An operator's cost is human time per accepted corrective second; 1 would be a person who never
pauses to think and never drives in vain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import json
import math
from pathlib import Path
import re
from typing import Any

from hiwm_core.action import Source
from hiwm_core.rollout_tree import Label
from hiwm_intervention.console_protocol import finite
from hiwm_intervention.console_tree import TreeView

FILE_NAME = 'console.json'
NAME = re.compile(r'[A-Za-z0-9.:+_-]+')
LONGEST_GAP = 2.0  # s between two frames that still count as one session


@dataclass(frozen=True)
class Yield:
    """The sums of one session, as they are kept.

    Attributes:
        session: Its name.
        task: Its task.
        session_time: s.
        human_time: s.
        accepted_time: s of accepted corrective steps.
        corrections: How many.
        branches: How many left another branch.
        failures: How many branches were left.
        steps: Nodes of the tree.
        counted: s, what the multiplexer had counted then, whatever it was for.
    """

    session: str
    task: str
    session_time: float
    human_time: float
    accepted_time: float
    corrections: int
    branches: int
    failures: int
    steps: int
    counted: float = 0.0

    def tell(self) -> dict[str, Any]:
        """For the page: the sums and their ratios, None where nothing can be said yet."""
        sums = asdict(self)
        del sums['counted']
        return {
            **sums,
            'session_time': finite(self.session_time, 1),
            'human_time': finite(self.human_time, 1),
            'accepted_time': finite(self.accepted_time, 1),
            'cost': _ratio(self.human_time, self.accepted_time),
            'corrections_per_hour': _ratio(3600.0 * self.corrections, self.session_time),
            'branches_per_failure': _ratio(self.branches, self.failures),
        }


class Economics:
    """The sums of the session that goes on.

    Args:
        period: s, of a step of the task.
    """

    def __init__(self, period: float) -> None:
        self._period = period
        self._session = ''
        self._seen = -math.inf
        self._session_time = 0.0
        self._counted = 0.0  # s, what the multiplexer said last
        self._before = 0.0  # s of human time to be added to that; less than 0 leaves some of it out
        self._heard = False  # whether the multiplexer has said anything
        self._switched = False  # whether the rig has begun another session since
        self._now: Yield | None = None

    def see_step(self, session: str, now: float) -> None:
        """The rig showed a frame."""
        if session != self._session:
            if self._session:
                self._before, self._switched = -self._counted, True
            self._session = session
            self._session_time = 0.0
        elif now - self._seen <= LONGEST_GAP:
            self._session_time += now - self._seen
        self._seen = now

    def see_human_time(self, seconds: float) -> None:
        """What the multiplexer has counted so far; it begins at 0 when it is started again."""
        if not math.isfinite(seconds):
            return
        if seconds < self._counted:
            self._before += self._counted
        self._counted = seconds
        self._heard = True

    def resume(self, kept: Yield) -> None:
        """The session was kept before: go on from there."""
        self._session_time += kept.session_time
        self._before += kept.human_time
        if self._switched:
            return
        if not self._heard:
            self._counted = kept.counted
        # One that has counted as much as then was there all the time: that is in what was kept.
        if self._counted >= kept.counted:
            self._before -= kept.counted

    def count(self, task: str, tree: TreeView) -> Yield:
        """The sums as they are now; what it takes grows with branches and takeovers, not steps."""
        places = tree.places
        discarded = {name for name, lane in tree.lanes.items() if lane.label is Label.DISCARD}
        corrections = 0
        for _, first in places.stretches():
            if first.source is Source.OPERATOR and first.branch not in discarded:
                parent = places.get(first.parent)
                corrections += parent is None or parent.source is not Source.OPERATOR
        passed: dict[int, int] = {}  # first node of a stretch -> up to where it has been counted
        accepted = 0
        for lane in tree.lanes.values():
            node = lane.head if lane.label is Label.SUCCESS else 0
            while (stretch := places.stretch(node)) is not None:
                nodes, first = stretch
                before = passed.get(nodes.start, nodes.start - 1)
                if node > before:
                    passed[nodes.start] = node
                    accepted += (node - before) * (first.source is Source.OPERATOR)
                if before >= nodes.start:
                    break
                node = first.parent
        forks = [tree.places.get(lane.fork) for lane in tree.lanes.values() if lane.fork]
        self._now = Yield(
            session=self._session,
            task=task,
            session_time=self._session_time,
            human_time=self._before + self._counted,
            accepted_time=accepted * self._period,
            corrections=corrections,
            branches=len(forks),
            failures=len({fork.branch for fork in forks if fork is not None}),
            steps=len(tree.places),
            counted=self._counted,
        )
        return self._now

    def tell(self) -> dict[str, Any] | None:
        """For the page; None before the first count."""
        return self._now.tell() if self._now else None


class Ledger:
    """The sums of all sessions, one small file in each session's folder.

    Args:
        record_dir: The folder of all sessions; empty: nothing is kept.
    """

    def __init__(self, record_dir: str) -> None:
        self._folder = Path(record_dir).expanduser() if record_dir else None

    def keep(self, sums: Yield) -> None:
        """Write one session's file whole, if its folder is there. Raises OSError."""
        path = self._path(sums.session)
        if path is None or not path.parent.is_dir():
            return
        rough = path.with_suffix('.tmp')
        rough.write_text(json.dumps(asdict(sums), indent=1) + '\n', encoding='utf-8')
        rough.replace(path)

    def kept(self, session: str) -> Yield | None:
        """What was kept of a session, if anything that can be read."""
        path = self._path(session)
        return _read(path) if path is not None else None

    def table(self) -> list[dict[str, Any]]:
        """All sessions that kept something, newest name first."""
        if self._folder is None or not self._folder.is_dir():
            return []
        kept = [_read(path) for path in sorted(self._folder.glob(f'*/{FILE_NAME}'), reverse=True)]
        return [sums.tell() for sums in kept if sums is not None]

    def _path(self, session: str) -> Path | None:
        if self._folder is None or not NAME.fullmatch(session) or session in {'.', '..'}:
            return None
        return self._folder / session / FILE_NAME


def _read(path: Path) -> Yield | None:
    try:
        data = json.loads(path.read_text(encoding='utf-8'))
        return Yield(**_checked(data))
    except (OSError, ValueError, TypeError):
        return None


def _checked(data: Mapping[str, Any]) -> dict[str, Any]:
    """Each field as its type; raises ValueError or TypeError."""
    values = {
        name: (str if kind == 'str' else int if kind == 'int' else float)(data[name])
        for name, kind in Yield.__annotations__.items()
        if name in data
    }
    if any(isinstance(value, float) and not math.isfinite(value) for value in values.values()):
        raise ValueError('a sum is not finite')
    return values


def _ratio(above: float, below: float) -> float | None:
    return round(above / below, 2) if below > 0 else None
