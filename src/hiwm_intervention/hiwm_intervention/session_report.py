# SPDX-License-Identifier: Apache-2.0
"""A session's report: `report.json` with the figures, `report.html` for a person.

Both are made of the summaries that lie beside the session's bags, and written whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
import json
from pathlib import Path
from typing import Any

from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.whole_file import write_whole
from hiwm_intervention.report_page import render
from hiwm_intervention.session_summary import Event
from hiwm_intervention.summary_file import bags_of, plain, read_summary, summarize, summary_path

JSON_NAME, PAGE_NAME = 'report.json', 'report.html'
OPERATOR = '2'  # Action.SOURCE_*, as a JSON key
LABEL_SUCCESS = 1  # Label.LABEL_*
LABEL_NAMES = {LABEL_SUCCESS: 'success', 2: 'failure', 3: 'discard'}


@dataclass
class SessionReport:
    """A session's summaries put together.

    Attributes:
        figures: What report.json holds.
        events: Of all bags, with `t` in s since the session began.
        branches: By name.
        progress: Pairs of time (s) and the task's measure of success.
        phase_seconds: By MuxState.PHASE_*.
        step_seconds: By Action.SOURCE_*.
        losses: One sentence each.
        remarks: How recordings ended, if not by an interrupt; bags that are not in here.
        counts: Messages by topic.
        models: By role, with path and SHA-256.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    branches: dict[str, Event] = field(default_factory=dict)
    progress: list[tuple[float, float]] = field(default_factory=list)
    phase_seconds: Counter[int] = field(default_factory=Counter)
    step_seconds: Counter[int] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    models: dict[str, Any] = field(default_factory=dict)


def write_report(session: Path, *, read_bags: bool = False) -> SessionReport:
    """Write both files of a session.

    Args:
        session: Its folder.
        read_bags: Make the summaries that are missing from their bags, which takes its time.

    Raises:
        HiwmError: STORAGE_FAULT, with a sentence: there is nothing to report, or it cannot be
            written.
    """
    remarks = []
    parts = []
    for bag in bags_of(session):
        try:
            if read_bags and not summary_path(bag).is_file():
                summarize(bag)
            if not summary_path(bag).is_file():
                remarks.append(
                    f'{bag.name} is not in this report; `ros2 run hiwm_intervention report '
                    f'{session}` adds it'
                )
                continue
            parts.append((bag.name, *read_summary(summary_path(bag))))
        except HiwmError as error:
            remarks.append(f'{bag.name} is not in this report: {error.message}')
    if not parts:
        detail = f' ({remarks[0]})' if remarks else ''
        raise HiwmError(
            f'{session} holds no recording to report on{detail}', ErrorCode.STORAGE_FAULT
        )
    report = combine(session.name, parts)
    report.remarks += remarks
    write_whole(session / JSON_NAME, json.dumps(plain(report.figures), indent=2) + '\n')
    write_whole(session / PAGE_NAME, render(report))
    return report


def combine(name: str, parts: list[tuple[str, list[Event], Event]]) -> SessionReport:
    """Put the summaries of a session's bags together.

    Args:
        name: The session's.
        parts: Bag's name, events and figures, in the order of recording.
    """
    report = SessionReport()
    began = min((totals['started_ns'] or 0) for _, _, totals in parts)
    sums: Counter[str] = Counter()
    corrective = 0.0
    operators: dict[str, None] = {}
    told: dict[str, str] = {}
    for bag, events, totals in parts:
        offset = ((totals['started_ns'] or began) - began) / 1e9
        period = totals.get('period') or 0.0
        for event in events:
            moved = event | {'t': event['t'] + offset}
            if 'end' in event:
                moved['end'] = event['end'] + offset
            report.events.append(moved)
        report.progress += [(time + offset, value) for time, value in totals['progress']]
        for branch in totals['branches']:
            corrected = {'corrective_seconds': branch['corrective'] * period}
            _merge(report.branches, branch | corrected, offset)
        for source, count in totals['steps'].items():
            report.step_seconds[int(source)] += count * period
        for phase, seconds in totals['phase_seconds'].items():
            report.phase_seconds[int(phase)] += seconds
        steps = totals['steps'].get(OPERATOR, 0)
        corrective += steps * period
        sums['corrective_steps'] += steps
        for key in ('takeovers', 'human_seconds', 'resets', 'rollbacks'):
            sums[key] += totals[key] or 0
        report.counts.update(totals['counts'])
        sums['lost_messages'] += sum(loss['missing'] for loss in totals['losses'])
        report.losses += [f'{loss["sentence"]} ({bag})' for loss in totals['losses']]
        if totals.get('remark'):
            report.remarks.append(f'{bag}: {totals["remark"]}')
        report.models |= totals.get('models') or {}
        operators |= dict.fromkeys(totals['operators'])
        told |= {
            key: totals[key]
            for key in ('session', 'task', 'rig', 'operator_id', 'git_revision', 'hiwm_version')
            if totals.get(key)
        }
        sums['seconds'] += totals['t']
    labels = Counter(LABEL_NAMES.get(each['label'], '') for each in report.branches.values())
    report.figures = {
        'session': told.get('session', name),
        'task': told.get('task', ''),
        'rig': told.get('rig', ''),
        'started': datetime.fromtimestamp(began / 1e9, UTC).isoformat(timespec='seconds'),
        'seconds': float(sums['seconds']),
        'operator_id': told.get('operator_id', '') or ', '.join(operators),
        'takeovers': sums['takeovers'],
        'corrective_steps': sums['corrective_steps'],
        'corrective_seconds': corrective,
        'accepted_seconds': sum(
            each['corrective_seconds']
            for each in report.branches.values()
            if each['label'] == LABEL_SUCCESS
        ),
        'human_seconds': float(sums['human_seconds']),
        'branches': sum(each['fork'] > 0 for each in report.branches.values()),
        'labels': {label: labels[label] for label in LABEL_NAMES.values()},
        'episodes': sum(bool(each['episode']) for each in report.branches.values()),
        'lost_messages': sums['lost_messages'],
        'messages': sum(report.counts.values()),
        'resets': sums['resets'],
        'rollbacks': sums['rollbacks'],
        'git_revision': told.get('git_revision', ''),
        'hiwm_version': told.get('hiwm_version', ''),
    }
    return report


def _merge(branches: dict[str, Event], branch: Event, offset: float) -> None:
    """A branch of another bag: the session's name for it is the same, its steps add up."""
    known = branches.get(branch['name'])
    if known is None:
        branches[branch['name']] = branch | {'begun': branch['begun'] + offset}
        return
    known['steps'] += branch['steps']
    known['corrective'] += branch['corrective']
    known['corrective_seconds'] += branch['corrective_seconds']
    known['episode'] = branch['episode'] or known['episode']
    # A summary of an earlier version does not tell a label that was taken back from none.
    if branch.get('judged', branch['label']):
        known['label'], known['note'] = branch['label'], branch['note']
    if branch['progress'] is not None:
        known['progress'] = branch['progress']
        known['best'] = max(known['best'] or 0.0, branch['best'] or 0.0)
