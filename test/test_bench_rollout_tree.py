# SPDX-License-Identifier: Apache-2.0
"""The measurement of the rollout tree, in small: it measures what it says, and says what it is."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The measurement as a person starts it."""
    return subprocess.run(
        [sys.executable, '-m', 'bench.rollout_tree', *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_small_tree_is_measured_against_every_bar(tmp_path: Path) -> None:
    target = tmp_path / 'results' / 'tree.json'
    folder = ('--folder', str(tmp_path))
    sizes = ('--nodes', '300', '--frames', '20', '--rollbacks', '60', '--seed', '3')
    ended = run(*sizes, *folder, '--json', str(target))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(target.read_text())
    assert (result['nodes'], result['seed'], result['different_frames']) == (300, 3, 20)
    assert result['branches'] > 1
    bars = {bar['name']: bar for bar in result['bars']}
    assert {name: (bar['limit'], bar['unit']) for name, bar in bars.items()} == {
        'disk': (4.0, 'GB'),
        'resident': (1.5, 'GB'),
        'rollback, p99': (20.0, 'ms'),
        'start-up': (10.0, 's'),
    }
    for name, bar in bars.items():
        assert bar['holds'] == (bar['value'] < bar['limit']), name
        assert name in ended.stdout
    assert 500 < result['bytes_per_node'] < 30_000
    assert bars['resident']['value'] > 0.02
    assert [entry.name for entry in tmp_path.iterdir()] == ['results'], 'the tree is cleared away'


def test_a_tree_of_no_size_is_refused() -> None:
    ended = run('--nodes', '1')
    assert ended.returncode == 2
    assert '--nodes must be 2 or more, not 1' in ended.stderr
