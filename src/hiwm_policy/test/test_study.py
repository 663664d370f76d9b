# SPDX-License-Identifier: Apache-2.0
"""The report: its figures from made-up evaluations, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import sys

import numpy as np
import pytest

from hiwm_core.error import ConfigurationError
from hiwm_policy import report
from hiwm_policy.study import facts_of, read_evaluations

RATES = {'base': 0.5, 'wm_cl': 0.6, 'hi_wm': 0.9, 'hi_wm_branching': 0.8, 'demos_25': 0.2}
Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Writes an evaluation as `evaluate --json` does."""

    def write(
        variant: str, rig: str = 'sim_arm', backbone: str = 'flow', **changes: object
    ) -> Path:
        count = 200
        won = np.arange(count) < RATES[variant] * count
        if rig == 'world_model':
            won = np.roll(won, 7)
        table = [
            {'seed': 1000 + row, 'success': bool(success), 'best_progress': 0.9}
            for row, success in enumerate(won)
        ]
        trained = {'operator_seconds': 290.0, 'corrections': 18, 'branches': 47, 'start_seeds': [5]}
        data = {
            'task': 'pusht',
            'rig': rig,
            'policy': f'{backbone}_{variant}',
            'backbone': backbone,
            'variant': variant,
            'post_training': trained if variant.startswith('hi_wm') else None,
            'table': table,
            **changes,
        }
        path = tmp_path / 'evaluations' / f'{backbone}_{variant}.{rig}.json'
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data))
        return path

    return write


def test_the_whole_study(put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for backbone in ('diffusion', 'flow'):
        for variant in RATES:
            for rig in ('sim_arm', 'world_model'):
                put(variant, rig, backbone)
    out = tmp_path / 'report'
    monkeypatch.setattr(sys, 'argv', ['report', str(tmp_path / 'evaluations'), '--out', str(out)])
    assert report.main() == 0
    facts = json.loads((out / 'report.json').read_text())
    each = facts['backbones']['diffusion']
    assert (each['base']['success'], each['base']['n']) == (0.5, 200)
    assert each['hi_wm']['interval_95'][0] < 0.9 < each['hi_wm']['interval_95'][1]
    assert each['gain_over_base']['value'] == pytest.approx(0.4)
    assert each['gain_over_base']['p_mcnemar'] < 1e-6
    assert facts['gain_over_wm_cl']['value'] == pytest.approx(0.3)
    assert facts['gain_over_wm_cl']['low'] < 0.3 < facts['gain_over_wm_cl']['high']
    assert facts['ablation_of_branching']['gain_of_branching']['value'] == pytest.approx(-0.1)
    assert facts['correlation']['policies'] == 10
    assert facts['correlation']['pearson']['value'] == pytest.approx(1.0)
    assert facts['correlation']['mmrv']['value'] == 0.0
    assert facts['operator']['flow hi_wm'] == {
        'operator_seconds': 290.0,
        'corrections': 18,
        'branches': 47,
    }
    html = (out / 'report.html').read_text()
    for text in ('90.0', '+40.0', 'WM-CL', 'data:image/png;base64', '290.0', 'demos_25'):
        assert text in html
    assert 'http' not in html, 'everything is in the page'


def test_one_backbone_without_an_ablation_or_a_world_model(put: Put) -> None:
    facts = facts_of(*read_evaluations([put('base'), put('hi_wm')]))
    assert facts['gain_over_base']['backbones'] == 1
    assert facts['gain_over_wm_cl'] is None
    assert facts['ablation_of_branching'] is None
    assert facts['correlation'] is None
    assert '+40.0' in report.page(facts)


def test_starts_that_the_operator_saw_are_refused(put: Put) -> None:
    path = put('hi_wm', post_training={'start_seeds': [5, 1003, 1007]})
    with pytest.raises(ConfigurationError, match='on 2 starts that it was post-trained from'):
        facts_of(*read_evaluations([path]))


def test_starts_that_were_demonstrated_are_refused(put: Put) -> None:
    path = put('base', demo_seeds=[900, 1001])
    with pytest.raises(ConfigurationError, match='on 2 starts that it was shown'):
        facts_of(*read_evaluations([path]))
    assert facts_of(*read_evaluations([put('base', demo_seeds=[900, 999])]))


def test_what_is_to_be_compared_has_to_be_clear(put: Put, tmp_path: Path) -> None:
    first = put('base', weights_sha256='aa')
    twin = tmp_path / 'evaluations' / 'again.json'
    twin.write_text(first.read_text())
    with pytest.raises(ConfigurationError, match=r'are both of flow base; report one'):
        facts_of(*read_evaluations([first, twin]))
    trained = {'operator_seconds': 1.0, 'base_weights_sha256': 'bb'}
    other = put('hi_wm', post_training=trained)
    with pytest.raises(ConfigurationError, match=r'post-trained from another base than that of'):
        facts_of(*read_evaluations([first, other]))
    own = put('hi_wm', post_training={**trained, 'base_weights_sha256': 'aa'})
    assert facts_of(*read_evaluations([first, own]))['gain_over_base']


def test_different_starts_are_not_compared(put: Put) -> None:
    other = [{'seed': 10 + row, 'success': True, 'best_progress': None} for row in range(200)]
    with pytest.raises(ConfigurationError, match='have different starts'):
        facts_of(*read_evaluations([put('base'), put('hi_wm', table=other)]))


def test_files_that_are_no_evaluations_are_named(put: Put, tmp_path: Path) -> None:
    wrong = tmp_path / 'wrong.json'
    wrong.write_text('{"task": 1}')
    with pytest.raises(ConfigurationError, match=r'wrong\.json is not an evaluation'):
        read_evaluations([wrong])
    with pytest.raises(ConfigurationError, match='cannot be read'):
        read_evaluations([tmp_path / 'nothing.json'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ConfigurationError, match='holds no evaluation'):
        read_evaluations([tmp_path / 'empty'])
    with pytest.raises(ConfigurationError, match='several tasks'):
        read_evaluations([put('base'), put('hi_wm', task='rope')])
