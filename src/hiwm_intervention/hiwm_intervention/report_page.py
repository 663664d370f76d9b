# SPDX-License-Identifier: Apache-2.0
"""A session's report as one page: no script, no other file, readable on a phone and on paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hiwm_intervention.session_report import SessionReport
    from hiwm_intervention.session_summary import Event

STYLE = Path(__file__).with_name('report') / 'report.css'
PICTURED = 200
WIDTH, BAR, CURVE = 1000, 26, 100
# MuxState.PHASE_* and Action.SOURCE_*: a name and the class that gives its colour.
PHASES = {
    1: ('policy drives', 'policy'),
    2: ('paused', 'idle'),
    3: ('handover', 'handover'),
    4: ('operator drives', 'operator'),
    5: ('stopped', 'locked'),
}
SOURCES = {
    1: ('policy', 'policy'),
    2: ('operator', 'operator'),
    4: ('handover', 'handover'),
    3: ('held', 'idle'),
}
LABELS = {0: ('not judged', 'none-yet'), 1: ('success', 'success')}
LABELS |= {2: ('failure', 'failure'), 3: ('discarded', 'discard')}
TRIGGERS = {1: 'fidelity fell', 2: 'progress stalled', 3: 'the policy disagrees with itself'}


def render(report: SessionReport) -> str:
    """The page's text."""
    figures = report.figures
    title = f'Session {figures["session"]}'
    body = [
        f'<h1>{escape(title)}</h1>',
        f'<p class="quiet">{escape(_subtitle(figures))}</p>',
        *_warnings(report),
        _tiles(report),
        _timeline(report),
        _drivers(report),
        *_takeovers(report),
        *_branches(report),
        *_pauses(report),
        *_recording(report),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<style>\n{STYLE.read_text(encoding="utf-8")}</style>\n'
        '</head>\n<body>\n' + '\n'.join(part for part in body if part) + '\n</body>\n</html>\n'
    )


def clock(seconds: float | None) -> str:
    """A duration: 0.4 s, 12 s, 3:05 min, 1:02:03 h."""
    if seconds is None:
        return 'unknown'
    if seconds < 10.0:
        return f'{seconds:.1f} s'
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    if whole < 3600:
        return f'{whole // 60}:{whole % 60:02d} min'
    return f'{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h'


def counted(number: int, noun: str) -> str:
    """1 step, 2 steps."""
    return f'{number:,} {noun}' + ('' if number == 1 else 's')


def _subtitle(figures: dict[str, Any]) -> str:
    parts = [figures['started'].replace('T', ' ').replace('+00:00', ' UTC')]
    for name, key in (('task', 'task'), ('rig', 'rig'), ('operator', 'operator_id')):
        if figures[key]:
            parts.append(f'{name} {figures[key]}')
    return ' \u00b7 '.join(parts)


def _warnings(report: SessionReport) -> list[str]:
    sentences = [*report.remarks, *report.losses]
    return [f'<div class="panel warning">{escape(sentence)}</div>' for sentence in sentences]


def _tiles(report: SessionReport) -> str:
    figures = report.figures
    labels = figures['labels']
    corrective, human = figures['corrective_seconds'], figures['human_seconds']
    rate = f'{human / corrective:.1f} s per corrective second' if corrective else ''
    judged = ', '.join(f'{count} {name}' for name, count in labels.items() if count)
    tiles = [
        ('Duration', clock(figures['seconds']), ''),
        ('Takeovers', figures['takeovers'], counted(figures['rollbacks'], 'rollback')),
        ('Corrective time', clock(corrective), counted(figures['corrective_steps'], 'step')),
        ('Human time', clock(human), rate),
        ('Branches', figures['branches'], judged or 'none judged'),
        ('Episodes', figures['episodes'], counted(figures['resets'], 'reset')),
        ('Messages', f'{figures["messages"]:,}', f'{figures["lost_messages"]:,} lost'),
    ]
    return (
        '<dl class="tiles">'
        + ''.join(
            f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(str(value))}'
            f'<small>{escape(note)}</small></dd></div>'
            for name, value, note in tiles
        )
        + '</dl>'
    )


def _timeline(report: SessionReport) -> str:
    """Who was in charge over time, and the task's progress under it."""
    phases = [event for event in report.events if event['kind'] == 'phase']
    end = max(
        [event['end'] for event in phases] + [time for time, _ in report.progress], default=0.0
    )
    if end <= 0.0:
        return ''
    scale = WIDTH / end
    parts = []
    for event in phases:
        name, colour = PHASES.get(event['phase'], ('unknown', 'idle'))
        span = f'{clock(event["t"])} to {clock(event["end"])}'
        parts.append(
            f'<rect class="fill-{colour}" x="{event["t"] * scale:.1f}" y="0" height="{BAR}" '
            f'width="{max(0.5, (event["end"] - event["t"]) * scale):.1f}">'
            f'<title>{escape(name)}, {span}</title></rect>'
        )
    drawn = _stretched('bar', BAR, 'phases over time', parts)
    legend = [
        (colour, f'{name} {clock(report.phase_seconds[phase])}')
        for phase, (name, colour) in PHASES.items()
        if report.phase_seconds[phase]
    ]
    if report.progress:
        values = [value for _, value in report.progress]
        low, high = min(0.0, *values), max(values) or 1.0
        points = ' '.join(
            f'{time * scale:.1f},{CURVE * (high - value) / (high - low):.1f}'
            for time, value in report.progress
        )
        drawn += _stretched(
            'curve', CURVE, 'progress over time', [f'<polyline points="{points}"/>']
        )
        legend.append(('line', f'task progress, 0 to {max(values):.2f}'))
    scale_line = f'<p class="scale"><span>0</span><span>{clock(end)}</span></p>'
    return f'<h2>Over time</h2>\n<div class="panel">{drawn}{scale_line}{_legend(legend)}</div>'


def _stretched(kind: str, height: int, label: str, parts: list[str]) -> str:
    """A drawing as wide as the page, whatever that is."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" '
        f'role="img" aria-label="{label}">{"".join(parts)}</svg>'
    )


def _drivers(report: SessionReport) -> str:
    """Whose actions were executed, in time on the rig."""
    total = sum(report.step_seconds.values())
    if not total:
        return ''
    parts, at = [], 0.0
    for source, (name, colour) in SOURCES.items():
        width = WIDTH * report.step_seconds[source] / total
        if width:
            parts.append(
                f'<rect class="fill-{colour}" x="{at:.1f}" y="0" width="{width:.1f}" '
                f'height="{BAR}"><title>{name}</title></rect>'
            )
        at += width
    legend = [
        (colour, f'{name} {clock(report.step_seconds[source])}')
        for source, (name, colour) in SOURCES.items()
        if report.step_seconds[source]
    ]
    drawn = _stretched('bar', BAR, 'who drove', parts)
    return f'<h2>Who drove</h2>\n<div class="panel">{drawn}{_legend(legend)}</div>'


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    items = ''.join(
        f'<li><i class="fill-{colour}"></i>{escape(text)}</li>' for colour, text in entries
    )
    return f'<ul class="legend">{items}</ul>'


def _takeovers(report: SessionReport) -> list[str]:
    takeovers = [event for event in report.events if event['kind'] == 'takeover']
    if not takeovers:
        return []
    cards = []
    for number, event in enumerate(takeovers[:PICTURED], 1):
        branch = report.branches.get(event['branch'], {})
        facts = [
            ('at', clock(event['t'])),
            ('for', f'{clock(event["end"] - event["t"])}, {counted(event["steps"], "step")}'),
            ('branch', f'{event["branch"]}, from step {event["step"]}'),
        ]
        if event['operator']:
            facts.append(('operator', event['operator']))
        cards.append(
            _card(
                f'Takeover {number}',
                branch.get('label', 0),
                (event['image'], 'taken over'),
                (event['after'], 'let go'),
                facts,
            )
        )
    return _section('Takeovers', cards, len(takeovers))


def _branches(report: SessionReport) -> list[str]:
    first, last = _pictures(report.events)
    cards = []
    for branch in list(report.branches.values())[:PICTURED]:
        name = branch['name']
        facts = [('steps', f'{branch["steps"]}, the operator\u2019s {branch["corrective"]}')]
        if branch['progress'] is not None:
            facts.append(('progress', f'{branch["progress"]:.2f}, best {branch["best"]:.2f}'))
        if branch['fork'] > 0:
            facts.append(('forks at', f'node {branch["fork"]}, {clock(branch["begun"])}'))
        if branch['note']:
            facts.append(('note', branch['note']))
        cards.append(
            _card(
                name,
                branch['label'],
                (first.get(name, ''), 'first'),
                (last.get(name, ''), 'last'),
                facts,
            )
        )
    return _section('Branches', cards, len(report.branches))


def _pictures(events: list[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """The first picture of each branch, and that of its furthest step."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    furthest: dict[str, int] = {}
    for event in events:
        if event['kind'] == 'begin' and event['image']:
            first.setdefault(event['branch'], event['image'])
        # After a rollback the screen shows an earlier step of the same branch.
        elif event['kind'] == 'frame' and event['step'] >= furthest.get(event['branch'], 0):
            furthest[event['branch']] = event['step']
            last[event['branch']] = event['image']
    return first, last


def _card(
    title: str,
    label: int,
    before: tuple[str, str],
    after: tuple[str, str],
    facts: list[tuple[str, str]],
) -> str:
    name, kind = LABELS.get(label, LABELS[0])
    figures = []
    for image, caption in (before, after):
        picture = (
            f'<img src="{escape(image)}" alt="{escape(caption)}" loading="lazy">'
            if image
            else '<div class="none"></div>'
        )
        figures.append(f'<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>')
    rows = ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts)
    return (
        f'<article class="card"><h3>{escape(title)} <span class="badge {kind}">{name}</span></h3>'
        f'<div class="pair">{figures[0]}<span class="arrow" aria-hidden="true">\u2192</span>'
        f'{figures[1]}</div><dl class="facts">{rows}</dl></article>'
    )


def _section(title: str, cards: list[str], total: int) -> list[str]:
    parts = [f'<h2>{title}</h2>', '<div class="cards">', *cards, '</div>']
    if total > len(cards):
        parts.append(f'<p class="quiet">and {total - len(cards)} more</p>')
    return parts


def _pauses(report: SessionReport) -> list[str]:
    pauses = [event for event in report.events if event['kind'] == 'pause']
    if not pauses:
        return []
    rows = ''.join(
        f'<tr><td class="number">{clock(event["t"])}</td>'
        f'<td>{escape(TRIGGERS.get(event["trigger"], "unknown"))}</td>'
        f'<td>{escape(event["reason"])}</td></tr>'
        for event in pauses[:PICTURED]
    )
    return [
        '<h2>Automatic pauses</h2>',
        '<div class="panel"><table><tr><th class="number">at</th><th>because</th><th>reason</th>'
        f'</tr>{rows}</table></div>',
    ]


def _recording(report: SessionReport) -> list[str]:
    rows = ''.join(
        f'<tr><td><code>{escape(topic)}</code></td><td class="number">{count:,}</td></tr>'
        for topic, count in sorted(report.counts.items())
    )
    facts = [
        ('losses', '; '.join(report.losses) or 'none known'),
        ('version', f'{report.figures["hiwm_version"]} {report.figures["git_revision"]}'.strip()),
    ]
    for role, model in report.models.items():
        facts.append((role.replace('_', ' '), f'{model["path"]}, {model["sha256"][:16]}'))
    listed = ''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts)
    return [
        '<h2>Recording</h2>',
        f'<div class="panel"><dl class="facts">{listed}</dl></div>',
        '<div class="panel"><table><tr><th>topic</th><th class="number">messages</th></tr>'
        f'{rows}</table></div>',
    ]
