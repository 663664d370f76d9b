# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_policy report`: what a study shows, as one HTML page and one JSON."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
import os
from pathlib import Path
import sys
from typing import Any

from matplotlib.figure import Figure

from hiwm_core.command import Parser, run_command
from hiwm_core.error import ConfigurationError
from hiwm_core.json_file import write_json
from hiwm_policy.study import (
    BASE,
    BRANCHED,
    CLOSED_LOOP,
    COMPARED,
    CORRECTED,
    MODEL,
    REAL,
    facts_of,
    read_evaluations,
)

TITLES = {
    BASE: 'base',
    CLOSED_LOOP: 'WM-CL',
    CORRECTED: 'Hi-WM',
    BRANCHED: 'Hi-WM, branching',
}
MARKS = 'osD^vP*X'
UNKNOWN = '-'

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
small { color: #666; }
img { max-width: 100%; }
"""


def page(facts: dict[str, Any]) -> str:
    """The HTML of a study's facts; everything is in it."""
    parts = [
        f'<h1>{escape(facts["task"])}: base, WM-CL and Hi-WM</h1>',
        _table(facts),
        _gains(facts),
        _ablation(facts),
        _operator(facts),
        _correlation(facts),
    ]
    body = '\n'.join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(facts["task"])}: Hi-WM report</title><style>{STYLE}</style></head>\n'
        f'<body>\n{body}\n</body></html>\n'
    )


def _percent(value: float | None) -> str:
    return UNKNOWN if value is None else f'{100 * value:.1f}'


def _points(estimate: dict[str, Any] | None) -> str:
    """A difference of rates in points, with its interval."""
    if estimate is None:
        return UNKNOWN
    low, high = estimate['low'], estimate['high']
    sign = f'{100 * estimate["value"]:+.1f} <small>({100 * low:+.1f} to {100 * high:+.1f})</small>'
    p_value = estimate.get('p_mcnemar')
    return sign if p_value is None else f'{sign} <small>p = {p_value:.2g}</small>'


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = ''.join(f'<th>{cell}</th>' for cell in header)
    lines = ''.join('<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>' for row in rows)
    return f'<table><tr>{head}</tr>{lines}</table>'


def _table(facts: dict[str, Any]) -> str:
    shown = [
        variant
        for variant in (*COMPARED, BRANCHED)
        if any(variant in each for each in facts['backbones'].values())
    ]
    rows = []
    for backbone, each in facts['backbones'].items():
        row = [escape(backbone)]
        for variant in shown:
            rate = each.get(variant)
            if rate is None:
                row.append(UNKNOWN)
                continue
            low, high = rate['interval_95']
            row.append(
                f'<b>{_percent(rate["success"])}</b> <small>({_percent(low)} to {_percent(high)}; '
                f'n = {rate["n"]})</small>'
            )
        rows.append(row)
    return (
        f'<h2>Success on {escape(facts["rig"])}, %</h2>'
        "<p>By the task's own criterion, on the same starts for all, which neither training nor "
        'the operator has seen. In brackets: 95 % Wilson intervals.</p>'
        + _rows(['backbone', *(TITLES[variant] for variant in shown)], rows)
    )


def _gains(facts: dict[str, Any]) -> str:
    names = ('gain_over_base', 'gain_over_wm_cl')
    rows = [
        [escape(backbone), *(_points(each[name]) for name in names)]
        for backbone, each in facts['backbones'].items()
    ]
    if len(rows) > 1:
        rows.append(['average', *(_points(facts[name]) for name in names)])
    return (
        '<h2>Gain of Hi-WM, points</h2><p>Paired differences over the same starts; in brackets '
        "their 95 % bootstrap intervals; p by McNemar's exact test.</p>"
        + _rows(['backbone', 'over base', 'over WM-CL'], rows)
    )


def _ablation(facts: dict[str, Any]) -> str:
    ablation = facts['ablation_of_branching']
    if ablation is None:
        return ''
    seconds, failures = ablation['operator_seconds'], ablation['failures_corrected']
    rows = [
        [
            TITLES[variant],
            ', '.join(map(str, seconds[variant])),
            ', '.join(map(str, failures[variant])),
        ]
        for variant in (CORRECTED, BRANCHED)
    ]
    return (
        '<h2>With and without branching</h2>'
        '<p>Several corrections of each failure instead of one, in equal operator time. Gain of '
        f'branching: {_points(ablation["gain_of_branching"])} points.</p>'
        + _rows(['', 'operator, s', 'failures corrected'], rows)
    )


def _operator(facts: dict[str, Any]) -> str:
    rows = [
        [escape(name), *(str(each[key]) for key in ('operator_seconds', 'corrections', 'branches'))]
        for name, each in facts['operator'].items()
    ]
    if not rows:
        return ''
    return (
        '<h2>The operator</h2><p>Of what was learned from: a second is what the rate of the task '
        'makes of the steps that they drove.</p>'
        + _rows(['policy', 'seconds', 'failures corrected', 'branches'], rows)
    )


def _correlation(facts: dict[str, Any]) -> str:
    found = facts['correlation']
    if found is None:
        return ''
    rows = []
    for name, title in (('pearson', 'Pearson r'), ('spearman', 'Spearman'), ('mmrv', 'MMRV')):
        each = found[name]
        bounds = UNKNOWN if each['low'] is None else f'{each["low"]:.3f} to {each["high"]:.3f}'
        value = UNKNOWN if each['value'] is None else f'{each["value"]:.3f}'
        rows.append([title, value, bounds])
    points = [
        [
            escape(point['policy']),
            escape(point['backbone']),
            escape(point['variant']),
            *(
                f'{_percent(point[rig]["success"])} <small>(n = {point[rig]["n"]})</small>'
                for rig in (MODEL, REAL)
            ),
        ]
        for point in found['points']
    ]
    picture = base64.b64encode(plot(found)).decode()
    together = ', the same starts for all' if found['shared_starts'] else ''
    return (
        f'<h2>World model against {escape(REAL)}</h2><p>{found["policies"]} policies. Intervals: '
        f'both policies and starts resampled{together}.</p>'
        + _rows(['', 'value', '95 %'], rows)
        + f'<img alt="success in the world model and on the rig" '
        f'src="data:image/png;base64,{picture}">'
        + _rows(['policy', 'backbone', 'variant', f'{MODEL}, %', f'{REAL}, %'], points)
    )


def plot(correlation: dict[str, Any]) -> bytes:
    """Every policy's success in the world model against that on the rig, as a PNG."""
    figure = Figure(figsize=(5.5, 5.0))
    axis = figure.subplots()
    axis.plot([0, 100], [0, 100], color='0.8', linewidth=1)
    points = correlation['points']
    groups = sorted({(point['backbone'], point['variant']) for point in points})
    for number, group in enumerate(groups):
        members = [point for point in points if (point['backbone'], point['variant']) == group]
        x, y = ([100 * point[rig]['success'] for point in members] for rig in (MODEL, REAL))
        bars = [
            [
                [
                    100 * abs(point[rig]['success'] - point[rig]['interval_95'][side])
                    for point in members
                ]
                for side in (0, 1)
            ]
            for rig in (MODEL, REAL)
        ]
        axis.errorbar(
            x,
            y,
            xerr=bars[0],
            yerr=bars[1],
            fmt=MARKS[number % len(MARKS)],
            elinewidth=0.6,
            label=' '.join(group),
        )
    axis.set_xlabel('success in the world model, %')
    axis.set_ylabel(f'success on {REAL}, %')
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 100)
    axis.legend(fontsize=7)
    figure.tight_layout()
    data = BytesIO()
    figure.savefig(data, format='png', dpi=120)
    return data.getvalue()


def write_report(out: Path, facts: dict[str, Any]) -> None:
    """`report.json` and `report.html` in a folder. Raises ConfigurationError."""
    write_json(out / 'report.json', facts)
    path = out / 'report.html'
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        part.write_text(page(facts), encoding='utf-8')
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be written: {error.strerror}') from error


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = Parser(prog='report', description='Report a study: one HTML page and one JSON.')
    parser.add_argument(
        'evaluations', type=Path, nargs='+', help='JSON files of `evaluate`, or folders of them'
    )
    parser.add_argument('--out', type=Path, required=True, help='folder of the report')
    return parser.parse_args(given)


def main() -> int:
    """Runs the command; returns its exit code."""
    given = arguments()
    return run_command('report', lambda: _report(given))


def _report(given: argparse.Namespace) -> int:
    facts = facts_of(*read_evaluations(given.evaluations))
    write_report(given.out, facts)
    print(f'{given.out / "report.html"}: {len(facts["backbones"])} backbones')
    return 0


if __name__ == '__main__':
    sys.exit(main())
