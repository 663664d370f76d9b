# SPDX-License-Identifier: Apache-2.0
"""The measurement of policies, in small: it measures what it says, and says what it is."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

from bench import policy
import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The measurement as a person starts it."""
    return subprocess.run(
        [sys.executable, '-m', 'bench.policy', *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.timeout(600)
def test_one_round_measures_every_batch_and_every_backbone(tmp_path: Path) -> None:
    target = tmp_path / 'results' / 'policy.json'
    ended = run('--rounds', '1', '--seed', '3', '--json', str(target))
    assert ended.returncode == 0, ended.stderr
    result = json.loads(target.read_text())
    assert result['seed'] == 3
    lockstep = result['lockstep']
    assert lockstep['steps_an_episode'] == 8, 'two chunks'
    for size in ('1', '16', '64'):
        figures = lockstep[size]
        assert figures['frames_per_s'] > 0.0
        ratio = figures['frames_per_s'] / lockstep['1']['frames_per_s']
        assert figures['times_one_episode'] == pytest.approx(ratio, rel=0.02)
    assert set(result['chunk']) == {'diffusion, shipped', 'flow, random weights'}
    for name, figures in result['chunk'].items():
        assert figures['chunks'] == 10
        assert 0.0 < figures['ms']['p50'] <= figures['ms']['p99'] <= figures['ms']['max']
        (bar,) = (each for each in result['bars'] if name in each['name'])
        assert bar['holds'] == (bar['value'] < bar['limit'])
        assert bar['limit'] == 100.0, "the task's period in ms"
        assert name in ended.stdout


@pytest.mark.parametrize(
    ('given', 'code', 'sentence'),
    [
        (('--rounds', '0'), 2, '--rounds is 1 or more'),
        (('--policy', 'nobody'), 1, "bench.policy: there is no policy 'nobody'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: tuple[str, ...],
    code: int,
    sentence: str,
) -> None:
    monkeypatch.setattr(sys, 'argv', ['bench.policy', *given])
    try:
        ended = policy.main()
    except SystemExit as end:
        ended = int(str(end))
    assert ended == code
    assert sentence in capsys.readouterr().err
