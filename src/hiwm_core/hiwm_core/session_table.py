# SPDX-License-Identifier: Apache-2.0
"""What recorded sessions hold, one row each; damaged ones too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
import math
from pathlib import Path
from typing import Any

from hiwm_core.action import Source
from hiwm_core.bag_reader import BagReader
from hiwm_core.bag_recovery import RECOVERED
from hiwm_core.contract import RIG_STATE
from hiwm_core.error import HiwmError
from hiwm_core.live_mark import is_held
from hiwm_core.session_gathering import OtherTreeError
from hiwm_core.session_log import SessionLog, check_usable, read_bags
from hiwm_core.task import load_task
from hiwm_core.tree_node import Label

DRIVERS = (Source.POLICY, Source.OPERATOR, Source.HANDOVER, Source.HOLD)
JUDGEMENTS = (Label.SUCCESS, Label.FAILURE, Label.DISCARD)
WHOLE, RECORDED, SKIPPED = 'whole', 'being recorded', 'skipped'


@dataclass(frozen=True)
class SessionRow:
    """One session.

    Attributes:
        path: The folder of its bag, or of its bags.
        state: `whole`, `recovered`, `being recorded` or `skipped`.
        message: Why it is skipped, or what is odd in it; one sentence, or empty.
        session: Its name.
        kind: demo, play, edge, policy or session.
        task: The task's name.
        rig: world_model, sim_arm, ...
        began: ns since the Unix epoch.
        seconds: Recorded.
        steps: By who chose the action, in lower case.
        takeovers: How often an operator began to drive.
        human_seconds: Operator time; None where it was not recorded.
        branches: That left another one.
        labels: Branches by judgement, in lower case.
    """

    path: str
    state: str
    message: str = ''
    session: str = ''
    kind: str = ''
    task: str = ''
    rig: str = ''
    began: int = 0
    seconds: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    takeovers: int = 0
    human_seconds: float | None = None
    branches: int = 0
    labels: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


def session_rows(bags: Sequence[Path]) -> list[SessionRow]:
    """The row of a session; never raises for what is wrong with it.

    Bags of different trees are sessions of their own, as for whoever learns from them.
    """
    path = str(bags[0] if len(bags) == 1 else bags[0].parent)
    if any(is_held(bag) for bag in bags):
        return [SessionRow(path, RECORDED, session=bags[0].parent.name)]
    whole, unusable = [], []
    recovered = False
    for bag in bags:
        try:
            task = load_task(_task_of(bag))
            check_usable(bag, task, frames=False)
            with BagReader(bag) as reader:
                recovered |= RECOVERED in reader.custom_data
            whole.append(bag)
        except HiwmError as error:
            unusable.append(_about(bag, error))
    if not whole:
        return [SessionRow(path, SKIPPED, unusable[0])]
    try:
        log = read_bags(whole, task, frames=False)
    except OtherTreeError as error:
        if len(whole) == 1:
            return [SessionRow(path, SKIPPED, error.message)]
        return [row for bag in bags for row in session_rows([bag])]
    except HiwmError as error:
        return [SessionRow(path, SKIPPED, _about(Path(path), error))]
    message = '; '.join([*unusable, *log.remarks])
    return [_row(path, RECOVERED if recovered else WHOLE, message, log)]


def _about(path: Path, error: HiwmError) -> str:
    return error.message if str(path) in error.message else f'{path}: {error.message}'


def _task_of(bag: Path) -> str:
    """The task's name, from the bag's own data, else from the rig's first state."""
    with BagReader(bag) as reader:
        if 'task' in reader.custom_data:
            return reader.custom_data['task']
        for _, message in reader.messages([RIG_STATE]):
            return str(message.task)
    return ''


def _row(path: str, state: str, message: str, log: SessionLog) -> SessionRow:
    tree = log.tree
    made = [node.row for node in tree.nodes.values() if node.parent]
    by_source = Counter(log.sources[made].tolist())
    judged = Counter(branch.label for branch in tree.branches.values())
    return SessionRow(
        path=path,
        state=state,
        message=message,
        session=log.custom_data.get('session', log.path.name),
        kind=log.custom_data.get('kind', 'session'),
        task=log.custom_data.get('task', ''),
        rig=log.rig,
        began=log.began,
        seconds=round(log.seconds, 3),
        steps={source.name.lower(): by_source[source] for source in DRIVERS},
        takeovers=log.takeovers,
        human_seconds=None if math.isnan(log.human_time) else round(log.human_time, 3),
        branches=sum(branch.fork > 0 for branch in tree.branches.values()),
        labels={label.name.lower(): judged[label] for label in JUDGEMENTS},
    )


COLUMNS: tuple[tuple[str, str], ...] = (
    ('session', '<'),
    ('kind', '<'),
    ('task', '<'),
    ('rig', '<'),
    ('length', '>'),
    ('policy', '>'),
    ('operator', '>'),
    ('handover', '>'),
    ('hold', '>'),
    ('takeovers', '>'),
    ('human', '>'),
    ('branches', '>'),
    ('labels', '<'),
    ('state', '<'),
)


def table_text(rows: Iterable[SessionRow]) -> str:
    """The table for a terminal: a line for each session that can be read, and the sums."""
    rows = list(rows)
    shown = [row for row in rows if row.state in {WHOLE, RECOVERED}]
    cells = [[name for name, _ in COLUMNS], *map(_cells, shown)]
    if len(shown) > 1:
        cells.append(_cells(_sum(shown)))
    widths = [max(len(line[place]) for line in cells) for place in range(len(COLUMNS))]
    lines = [
        '  '.join(
            f'{text:{side}{width}}'
            for text, (_, side), width in zip(line, COLUMNS, widths, strict=True)
        ).rstrip()
        for line in cells
    ]
    for row in rows:
        if row.state == RECORDED:
            lines.append(f'{row.path} is being recorded; it is not looked at')
        elif row.message:
            lines.append(f'{row.message}; it is skipped' if row.state == SKIPPED else row.message)
    return '\n'.join(lines)


def _cells(row: SessionRow) -> list[str]:
    judged = [f'{count} {name}' for name, count in row.labels.items() if count]
    return [
        row.session,
        row.kind,
        row.task,
        row.rig,
        _duration(row.seconds),
        *(str(row.steps[source.name.lower()]) for source in DRIVERS),
        str(row.takeovers),
        _duration(row.human_seconds) if row.human_seconds is not None else '-',
        str(row.branches),
        ', '.join(judged) or '-',
        row.state,
    ]


def _sum(rows: Sequence[SessionRow]) -> SessionRow:
    steps: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for row in rows:
        steps.update(row.steps)
        labels.update(row.labels)
    known = [row.human_seconds for row in rows if row.human_seconds is not None]
    return SessionRow(
        path='',
        state='',
        session=f'{len(rows)} sessions',
        seconds=sum(row.seconds for row in rows),
        steps={source.name.lower(): steps[source.name.lower()] for source in DRIVERS},
        takeovers=sum(row.takeovers for row in rows),
        human_seconds=sum(known) if known else None,
        branches=sum(row.branches for row in rows),
        labels=dict(labels),
    )


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f'{hours}:{rest // 60:02d}:{rest % 60:02d}' if hours else f'{rest // 60}:{rest % 60:02d}'
